"""The training loop: one for all objectives, sources and numbers of ranks.

    batch → microbatches → objective → backward ─┐ summed over microbatches and ranks
                                                 ├→ ÷ global number of targets → clip → optimizers → hooks
                                     count ──────┘

The gradient is that of (loss summed over all targets of the global batch) / (number of those targets), whatever the
number of ranks and microbatches; only routers' losses, which are means, are those of the microbatches. Nothing in a
step makes the host wait for the device; hooks may, where they log. Knows nothing of files, of what a batch holds, or of
how the model is sharded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mm1.distributed.collectives import num_ranks, sum_
from mm1.train.microbatch import split
from mm1.train.objectives import Objective
from mm1.train.state import TrainState
from mm1.types import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """What a hook is told after a step."""

    state: TrainState
    step: int
    """How many are done."""
    steps: int
    """Of the whole run."""
    learning_rate: float
    grad_norm: Float[Tensor, ""]
    """Global norm before clipping, on the device: reading it makes the host wait."""

    @property
    def is_last(self) -> bool:
        return self.step == self.steps


class Hook(Protocol):
    """A side effect of training."""

    def on_step(self, info: StepInfo) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """What the loop is given besides state, objective and batches."""

    steps: int
    learning_rate: float
    factor: Callable[[int], float]
    """The schedule's factor of a step, counted from 0."""
    microbatches: int
    """Of a rank in a step: one or more rows of a batch each."""
    trim: bool = False
    """Whether microbatches lose what is padding in all of their rows."""
    max_grad_norm: float
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]]
    announce: Callable[[nn.Module, bool], None] = lambda model, is_last: None
    """Called before each microbatch with the model, and whether it is the step's last: what is sharded need not sum
    gradients before that."""


def train(
    state: TrainState, objective: Objective, batches: Iterator[Batch], config: LoopConfig, hooks: Sequence[Hook] = ()
) -> None:
    """Trains until `config.steps`; `batches` begins with the batch of step `state.step`.

    A step whose gradients are not finite changes nothing but the count in `state.skipped`.
    """
    clock = state.clock
    while state.step < config.steps:
        with clock.measure("data"):
            microbatches = split(next(batches), config.microbatches, trim=config.trim)
        with clock.measure("compute"):
            count = torch.zeros((), device=config.device)
            for number, microbatch in enumerate(microbatches, start=1):
                config.announce(state.model, number == len(microbatches))
                with config.autocast():
                    losses = objective(state.model, microbatch.to(config.device))
                losses.total.backward()  # type: ignore[no-untyped-call]
                count += losses.count
                state.tally.add(losses, microbatch)
            grad_norm = normalise_gradients(state.optimizers.parameters, sum_(count), config.max_grad_norm)
        with clock.measure("optimizer"):
            factor = config.factor(state.step)
            skip = 1.0 - grad_norm.isfinite().float()
            state.optimizers.step(factor, skip)
            if state.average is not None:
                state.average.update(state.step, skip)
            state.skipped += skip
        state.step += 1
        info = StepInfo(
            state=state,
            step=state.step,
            steps=config.steps,
            learning_rate=factor * config.learning_rate,
            grad_norm=grad_norm,
        )
        for hook in hooks:
            hook.on_step(info)


def normalise_gradients(parameters: Sequence[Tensor], count: Float[Tensor, ""], max_norm: float) -> Float[Tensor, ""]:
    """Divides gradients of a sum by `count`, then scales them to a global norm of at most `max_norm`, in place.

    Returns the norm before clipping: not finite if any gradient is not. A batch without targets has gradient 0.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert len(gradients) == len(parameters), "a parameter outside the graph: ranks would wait for each other for ever"
    norm = _total_norm(gradients)
    scale = 1 / count.clamp(min=1)
    norm = norm * scale
    scale = scale * (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([g.to_local() if isinstance(g, DTensor) else g for g in gradients], scale)
    return norm


def _total_norm(gradients: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The norm over all gradients, the same on every rank; each may be sharded in its own way.

    In one sum over all ranks, to which several copies of the same shard contribute their part of one.
    """
    by_copies: dict[int, list[Tensor]] = {}
    for gradient in gradients:
        own = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        by_copies.setdefault(_copies(gradient), []).append(own)
    squares = [torch.nn.utils.get_total_norm(own).double().square() / copies for copies, own in by_copies.items()]
    return sum_(torch.stack(squares).sum()).sqrt().float()


def _copies(tensor: Tensor) -> int:
    """How many ranks hold the same part of `tensor`."""
    if not isinstance(tensor, DTensor):
        return num_ranks()
    sizes = zip(tensor.device_mesh.shape, tensor.placements, strict=True)
    return math.prod(size for size, placement in sizes if placement.is_replicate())
