"""A sparse layer: a router sends each token to its best few of many experts, each a small MLP of its own.

    hidden → router (float32) → softmax → the k best experts, gates ─┐
       └──────────────────────────→ their MLPs ──────────────────────┴→ Σ gate · MLP_e(hidden)

    mixed, routing = MoE(MoEConfig(num_experts=64), dim=2048, mlp_dim=8192, mlp="swiglu")(hidden, real)

Top-2 gating as in GShard and ST-MoE (arXiv 2006.16668, 2202.08906), in the form of mesh-tensorflow and AXLearn, which
MM1's authors use: gates renormalised over the chosen experts; the load-balance loss E · Σ_e f_e · P_e, where f_e is the
share of tokens whose first choice is e, and P_e the mean probability of e, is 1 when both are balanced; the router's
z-loss is the mean of logsumexp(logits)². Both losses, and what is worth watching, come back as values: whoever trains
weighs them. Padding is routed nowhere and counts in no mean.

Without a capacity no choice is dropped, and what a token becomes depends on that token alone. With one, an expert takes
at most C = int(S · capacity_factor / E) tokens from a row of S positions (the row is the group): first choices in token
order, then second choices, then third; the gate of a choice that comes too late is 0, and the token keeps its residual.
That is for training: evaluation and generation drop nothing, so that no answer depends on what stands beside it.

Shape letters: B batch, S positions, D dim, E experts, k choices a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from mm1.config import Config, UserError
from mm1.models.experts import Backend, Dispatch, GroupedLinear

EPS = 1e-9
"""In the denominator of renormalised gates (mesh-tensorflow, AXLearn)."""


class MoEConfig(Config):
    """Which layers of a decoder are sparse, and what those are."""

    num_experts: PositiveInt
    top_k: PositiveInt = 2
    every: PositiveInt = 2
    """Layer l, counted from 0, is sparse where (l + 1) is a multiple: the 2nd, 4th, … of every=2."""
    expert_dim: PositiveInt | None = None
    """Hidden width of an expert; the decoder's `mlp_dim` where None."""
    renormalise: bool = True
    """Gates divided by their sum over the chosen experts; False leaves them probabilities (some Qwen3-MoE). To train
    with a top_k of 1 takes False: the only gate would always be 1, and the router learn nothing from the loss."""
    capacity_factor: PositiveFloat | None = None
    """Slots of an expert in a row, as a multiple of the fair share S / E, when training. None drops nothing."""
    backend: Backend = "auto"
    """How experts are computed: one grouped kernel, or a loop over experts. "auto" takes the kernel where it works."""

    @model_validator(mode="after")
    def _check(self) -> MoEConfig:
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} is more than num_experts {self.num_experts}: lower it")
        return self

    def slots(self, length: int) -> int:
        """Choices that one expert takes in a row of `length` positions, where there is a capacity.

        Raises:
            UserError: it takes none.
        """
        assert self.capacity_factor is not None
        slots = int(length * self.capacity_factor / self.num_experts)
        if slots < 1:
            raise UserError(
                f"moe.capacity_factor={self.capacity_factor} leaves {self.num_experts} experts no slot in rows of "
                f"{length} positions: raise it to {self.num_experts / length:.3g} or more, or take None"
            )
        return slots

    def is_sparse(self, layer: int) -> bool:
        """Whether layer number `layer`, counted from 0, is sparse."""
        return (layer + 1) % self.every == 0


class Routing(NamedTuple):
    """What one layer's router did, as float32 means over the real tokens; all 0 where there are none."""

    load_balance: Float[Tensor, ""]
    """The load-balance loss: 1 when balanced, E when one expert gets everything. Carries gradients."""
    router_z: Float[Tensor, ""]
    """The router's z-loss. Carries gradients."""
    load: Float[Tensor, " E"]
    """Share of the choices that fell on each expert, before dropping."""
    dropped: Float[Tensor, ""]
    """Share of the choices that found no slot."""
    entropy: Float[Tensor, ""]
    """Of the router's probabilities, in nats: ln E when it does not care, 0 when it is certain."""


Experts: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(rows that stand sorted by expert, rows of each) → as many rows."""
Exchange: TypeAlias = Callable[[Experts, Tensor, Tensor], Tensor]
"""(experts, rows that stand sorted by expert, rows of each) → what the experts make of them."""


def all_here(experts: Experts, rows: Tensor, counts: Tensor) -> Tensor:
    """The exchange of a model that holds all its experts: there is nothing to exchange."""
    return experts(rows, counts)


class MoE(nn.Module):
    """A router and its experts, in the place of an MLP."""

    def __init__(self, config: MoEConfig, dim: int, mlp_dim: int, mlp: Literal["swiglu", "gelu"]) -> None:
        """`mlp_dim` is the experts' width where the config gives none; `mlp` is what they are."""
        super().__init__()
        self.config = config
        width, experts = config.expert_dim or mlp_dim, config.num_experts
        self.router = nn.Linear(dim, experts, bias=False)
        self.gate_up = GroupedLinear(experts, dim, 2 * width, config.backend) if mlp == "swiglu" else None
        self.up = GroupedLinear(experts, dim, width, config.backend) if mlp == "gelu" else None
        self.down = GroupedLinear(experts, width, dim, config.backend)
        self.exchange: Exchange = all_here
        """How rows come to their experts; whoever deals the experts out to several processes puts another here."""

    def forward(
        self, hidden: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B S D"], Routing]:
        """What the chosen experts make of each token, 0 for padding, and what the router did.

        Raises:
            UserError: the capacity of these rows is no slot at all.
        """
        config = self.config
        with torch.autocast(hidden.device.type, enabled=False):
            logits = F.linear(hidden.float(), self.router.weight.float())
        probabilities = logits.softmax(-1)
        gates, experts = probabilities.topk(config.top_k)
        if config.renormalise:
            gates = gates / (gates.sum(-1, keepdim=True) + EPS)
        kept = real[..., None].expand_as(experts)
        if config.capacity_factor is not None and self.training:
            kept = kept & (_queue(experts, real, config.num_experts) < config.slots(hidden.shape[1]))
        dispatch = Dispatch.from_choices(experts.flatten(0, 1), kept.flatten(0, 1), config.num_experts)
        rows = self.exchange(self._experts, dispatch.send(hidden.flatten(0, 1)), dispatch.counts)
        mixed = dispatch.combine(rows, gates.where(kept, 0.0).flatten(0, 1)).view(hidden.shape)
        return mixed, _routing(logits, probabilities, experts, kept, real)

    def _experts(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The MLP of each row's expert."""
        if self.gate_up is not None:
            gate, up = self.gate_up(rows, counts).chunk(2, dim=-1)
            inner = F.silu(gate) * up
        else:
            assert self.up is not None
            inner = F.gelu(self.up(rows, counts))
        mixed: Tensor = self.down(inner, counts)
        return mixed


def _queue(experts: Int[Tensor, "B S k"], real: Bool[Tensor, "B S"], num_experts: int) -> Int[Tensor, "B S k"]:
    """How many choices of the same row stand before each one in its expert's queue.

    Those are all better-ranked choices of that expert, and those of equal rank by earlier tokens. Padding does not
    queue.
    """
    by_rank = experts.transpose(1, 2)
    chosen = F.one_hot(by_rank, num_experts).to(torch.int32) * real[:, None, :, None]
    before = chosen.flatten(1, 2).cumsum(1, dtype=torch.int32).view(chosen.shape) - chosen
    return before.gather(-1, by_rank[..., None])[..., 0].transpose(1, 2)


def _routing(logits: Tensor, probabilities: Tensor, experts: Tensor, kept: Tensor, real: Tensor) -> Routing:
    """The statistics of a layer from logits and probabilities (B, S, E), choices (B, S, k) and who counts."""
    num_experts, count = logits.shape[-1], real.sum().clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        """Over real tokens, of (B, S, …). No matrix product, which autocast would take in bfloat16."""
        counted = real.view(real.shape + (1,) * (values.ndim - 2))
        return torch.where(counted, values, 0.0).sum((0, 1)) / count

    choices = F.one_hot(experts, num_experts).float()
    first_share, probability = mean(choices[:, :, 0]), mean(probabilities)
    return Routing(
        load_balance=num_experts * (first_share * probability).sum(),
        router_z=mean(logits.logsumexp(-1).square()),
        load=mean(choices.mean(2)),
        dropped=mean(1 - kept.float().mean(2)),
        entropy=mean(torch.special.entr(probabilities.detach()).sum(-1)),
    )
