"""What memory a rank holds all the time, told before the first step; on CUDA also the most that a step takes.

    memory a rank: 9.6 GB = weights 2.4 + gradients 2.4 + optimizer 4.8
       = image_encoder 3.1 + connector 0.2 + decoder 6.3

Counted on the tensors that are there, this rank's share of them; gradients are those of all that moves, which are there
when the backward ends. What else a step takes, above all activations, `mm1 plan` estimates beforehand and the second
step shows. Knows nothing of layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from mm1.train.loop import StepInfo
from mm1.train.progress import Say
from mm1.train.state import TrainState

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def held(state: TrainState) -> Counter[tuple[str, str]]:
    """Bytes of this rank by (kind, part of the model)."""
    found: Counter[tuple[str, str]] = Counter()
    for kind, name, tensor in _tensors(state):
        own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        found[kind, name.partition(".")[0]] += own.numel() * own.element_size()
    return found


def memory_lines(state: TrainState) -> tuple[str, str]:
    """What is held, by kind and by part of the model, in the unit that suits the sum; parts too small are left out."""
    found = held(state)
    kinds: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for (kind, part), size in found.items():
        kinds[kind] += size
        parts[part] += size
    total = found.total()
    scale, unit = next(((scale, unit) for scale, unit in UNITS if total >= scale), UNITS[-1])
    by_kind = " + ".join(f"{kind} {size / scale:.1f}" for kind, size in kinds.items())
    by_part = " + ".join(f"{part} {size / scale:.1f}" for part, size in parts.items() if size >= scale / 20)
    return f"memory a rank: {total / scale:.1f} {unit} = {by_kind}", f"   = {by_part}"


class PeakMemory:
    """A hook for CUDA that tells, once, the most memory that was needed: after the second step, when all is there."""

    def __init__(self, device: torch.device, say: Say) -> None:
        self._device, self._say = device, say
        self._seen = 0

    def on_step(self, info: StepInfo) -> None:
        self._seen += 1
        if self._seen == 2 and self._device.type == "cuda":
            # What the host has asked of the allocator: nothing waits for the device.
            most, kept = (
                ask(self._device) / 1e9 for ask in (torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved)
            )
            self._say(f"the most memory that a step took: {most:.1f} GB ({kept:.1f} GB with what the allocator keeps)")


def _tensors(state: TrainState) -> Iterator[tuple[str, str, Tensor]]:
    """(kind, name, tensor) of all that stays; a gradient is as large as its parameter, which stands for it."""
    for name, parameter in state.model.named_parameters():
        yield "weights", name, parameter
    for name, buffer in state.model.named_buffers():
        yield "weights", name, buffer
    for name, parameter in state.model.named_parameters():
        if parameter.requires_grad:
            yield "gradients", name, parameter
    for name, tensor in state.optimizers.tensors().items():
        yield "optimizer", name, tensor
    for name, tensor in ({} if state.average is None else state.average.tensors).items():
        yield "average", name, tensor
