"""Which optimizer moves which parameter, how fast, and with what weight decay.

    matrices of hidden layers               Muon    weight decay   ┐ (all AdamW or Adafactor with another `kind`)
    embeddings, routers, stacks of experts  AdamW   weight decay   ├ × learning-rate scale of the longest name prefix
    norms, biases, scalars                  AdamW   none           ┘

`parameter_table` prints the decision; `Optimizers` carries it out. Weight decay is decoupled, as in the paper: with
the schedule's factor s(t) in [0, 1] and the peak rate η, a step is w ← w - s(t) · (η · update + λ · w) with λ = 0.1 η.
That is torch's rule w ← w - lr · (update + weight_decay · w) for lr = s(t) η and `weight_decay` = λ / η = 0.1, which is
what is configured here. Knows the names of parameters, not what they are for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from mm1.config import Config, UserError
from mm1.train.adafactor import FACTOR_FROM, Adafactor
from mm1.train.muon import Muon

Kind: TypeAlias = Literal["adamw", "muon", "adafactor"]


class OptimizerConfig(Config):
    """AdamW or Adafactor for all parameters, or Muon for the matrices of hidden layers and AdamW for the rest."""

    kind: Kind = "adamw"
    """MM1 pretrains with AdamW and fine-tunes with Adafactor, which keeps nearly no state; Muon, scaled to AdamW's
    step size, learns several times faster at tiny size."""
    learning_rate: PositiveFloat = 1e-3
    """The peak η, of all optimizers."""
    weight_decay: NonNegativeFloat = 0.1
    """λ / η: the share of η by which weights shrink at the peak. The paper's "0.1 × peak learning rate" is 0.1 here."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Of AdamW. Unknown for MM1; these are AXLearn's for language models."""
    eps: PositiveFloat = 1e-8
    momentum: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Of Muon."""
    decay_power: float = Field(default=0.8, gt=0.0, le=1.0)
    """Of Adafactor: its moments decay by 1 - t^-decay_power in step t. Unknown for MM1; Shazeer and Stern's."""
    clip_update: PositiveFloat = 1.0
    """Of Adafactor: the largest RMS of a parameter's update, before the learning rate."""
    scale_by_size: bool = False
    """Of Adafactor: whether an update is multiplied by its parameter's RMS, which makes learning rates relative.
    Unknown for MM1; with it 1e-5 would move a weight by 1e-5 of itself a step, and 10,000 steps would change little."""
    factor_from: PositiveInt = FACTOR_FROM
    """Of Adafactor: moments are factored where both of the last two dimensions are at least so long."""
    learning_rate_scales: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Factor on the learning rate by name prefix, such as {"image_encoder": 0.1}; the longest prefix wins."""
    frozen: tuple[str, ...] = ()
    """Name prefixes of parameters that do not move; () moves all that the model itself lets move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRow:
    """What is decided for one parameter."""

    name: str
    shape: tuple[int, ...]
    optimizer: Kind | Literal["frozen"]
    weight_decay: float
    learning_rate_scale: float


def parameter_table(model: nn.Module, config: OptimizerConfig) -> list[ParameterRow]:
    """One row a parameter, in the model's order; for reading, for golden files, and what `Optimizers` follows.

    Raises:
        UserError: a prefix in the config names no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in (*config.frozen, *config.learning_rate_scales):
        _check_prefix(prefix, names)
    return [row_of(name, parameter, config) for name, parameter in model.named_parameters()]


def freeze(model: nn.Module, config: OptimizerConfig) -> None:
    """Takes the parameters that `config.frozen` names out of the gradient; before a model is sharded."""
    named = dict(model.named_parameters())
    for row in parameter_table(model, config):
        if row.optimizer == "frozen":
            named[row.name].requires_grad_(False)


class Optimizers:
    """The optimizers of one model, as one: a step, a checkpoint's tensors."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, muon_dtype: torch.dtype = torch.bfloat16) -> None:
        """Allocates all state at once, so that a checkpoint can be loaded into it. A model is sharded before."""
        table = parameter_table(model, config)
        named = dict(model.named_parameters())
        self._config = config
        self._names: dict[Tensor, str] = {named[row.name]: row.name for row in table if row.optimizer != "frozen"}
        self.parameters = list(self._names)
        """Those that move."""
        bounds: Mapping[str, float] = getattr(model, "upper_bounds", {})
        self._bounds = [(named[name], most) for name, most in bounds.items()]
        self._all: list[torch.optim.Optimizer] = []
        if not self.parameters:
            raise UserError("every parameter of the model is frozen: take a prefix out of optimizer.frozen")
        if groups := _groups(table, named, "adamw"):
            self._all.append(torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True))
        if groups := _groups(table, named, "muon"):
            self._all.append(Muon(groups, momentum=config.momentum, dtype=muon_dtype))
        if groups := _groups(table, named, "adafactor"):
            self._all.append(_adafactor(groups, config))
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["weight_decay"] = group["decay"]
                for parameter in group["params"]:
                    if not optimizer.state[parameter]:
                        optimizer.state[parameter] = _initial_state(optimizer, parameter)

    def step(self, factor: float, skip: Tensor) -> None:
        """Moves every parameter along its gradient, at `factor` times its peak rate, and drops the gradients.

        Afterwards no parameter is beyond the model's `upper_bounds`, where it has some (CLIP's temperature has).

        `skip` is a float scalar on the device: where it is not 0 nothing changes, and the host need not know.
        """
        for optimizer in self._all:
            optimizer.found_inf = skip  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group["lr"] = self._config.learning_rate * group["scale"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for parameter, most in self._bounds:
                parameter.clamp_(max=most)

    def tensors(self) -> dict[str, Tensor]:
        """All state by name, such as "decoder.norm.weight.exp_avg"; aliases, so that loading fills it in place."""
        return {
            f"{self._names[parameter]}.{key}": value
            for optimizer in self._all
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }


def row_of(name: str, parameter: nn.Parameter, config: OptimizerConfig) -> ParameterRow:
    """What is decided for the parameter of that full name."""
    kind: Kind | Literal["frozen"] = "adafactor" if config.kind == "adafactor" else "adamw"
    if not parameter.requires_grad or any(_covers(prefix, name) for prefix in config.frozen):
        kind = "frozen"
    elif config.kind == "muon" and parameter.ndim == 2 and _is_hidden(name):
        kind = "muon"
    prefixes = [prefix for prefix in config.learning_rate_scales if _covers(prefix, name)]
    moves = kind != "frozen"
    return ParameterRow(
        name=name,
        shape=tuple(parameter.shape),
        optimizer=kind,
        weight_decay=config.weight_decay if parameter.ndim >= 2 and moves else 0.0,
        learning_rate_scale=(config.learning_rate_scales[max(prefixes, key=len)] if prefixes else 1.0) * moves,
    )


def _is_hidden(name: str) -> bool:
    """Whether a matrix stands between hidden layers: in a block, or in the connector. A router ends in a choice."""
    inside = ".blocks." in name or name.startswith("connector.")
    return name.endswith(".weight") and inside and not name.endswith(".router.weight")


def _groups(table: Iterable[ParameterRow], named: Mapping[str, nn.Parameter], kind: str) -> list[dict[str, object]]:
    """Parameter groups of equal weight decay and scale, in the table's order."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for row in table:
        if row.optimizer == kind:
            groups.setdefault((row.weight_decay, row.learning_rate_scale), []).append(named[row.name])
    return [{"params": params, "decay": decay, "scale": scale} for (decay, scale), params in groups.items()]


def _adafactor(groups: list[dict[str, object]], config: OptimizerConfig) -> Adafactor:
    return Adafactor(
        groups,
        decay_power=config.decay_power,
        clip=config.clip_update,
        scale_by_size=config.scale_by_size,
        factor_from=config.factor_from,
    )


def _initial_state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """What the optimizer would allocate in its first step."""
    if isinstance(optimizer, Muon):
        return {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}
    return {
        "step": torch.zeros((), device=parameter.device),
        "exp_avg": torch.zeros_like(parameter, requires_grad=False),
        "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
    }


def _covers(prefix: str, name: str) -> bool:
    """Whether `prefix` is a whole leading part of the dotted `name`: "decoder" covers "decoder.norm.weight"."""
    return name == prefix or name.startswith(prefix + ".")


def _check_prefix(prefix: str, names: Iterable[str]) -> None:
    known = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
    if prefix in known:
        return
    near = difflib.get_close_matches(prefix, sorted(known), n=1, cutoff=0.0)
    raise UserError(f"'{prefix}' is the beginning of no parameter's name: did you mean '{near[0]}'?")
