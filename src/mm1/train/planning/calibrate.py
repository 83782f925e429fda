"""How long the kernels of a trace take on this machine, found by running each of them once more, alone, with data.

    clock = Kernels()
    clock.seconds(piece.cost.operations)        # of one forward and backward; a kernel met before is not run again

Takes about as long as one step of one piece of each kind, and nothing is trained. A kernel is timed with its input and
output out of the processor's caches where they would be, and the time that PyTorch takes to get from one kernel to the
next is measured and added. Knows nothing of models.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from mm1.train.planning.trace import Operation, Shape

SHORT = 0.2
"""Seconds after which a kernel has been run often enough."""
MOST_RUNS = 7
BUFFER = 64 * 2**20
"""Bytes read between runs, more than a processor's cache."""


def now() -> float:
    """Seconds: the processor's where there is one thread, so that other processes matter less; else the clock's."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Kernels:
    """Times kernels on the CPU and remembers them."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._buffer = torch.zeros(BUFFER // 4)
        self.between = between_kernels()
        """Seconds that a kernel costs beside its own work: Python, autograd, dispatch."""

    def seconds(self, operations: Sequence[Operation]) -> float:
        """Of these, one after another."""
        return sum(self._of(operation) + self.between for operation in operations)

    def _of(self, operation: Operation) -> float:
        key = f"{operation.call} {operation.arguments}"
        if key not in self._known:
            self._known[key] = self._measured(operation)
        return self._known[key]

    @torch.no_grad()
    def _measured(self, operation: Operation) -> float:
        arguments, options = tree_map(_filled(operation), _as_it_runs(operation))
        cold = operation.bytes > BUFFER // 64
        operation.call(*arguments, **options)
        taken: list[float] = []
        while len(taken) < 3 or (len(taken) < MOST_RUNS and sum(taken) < SHORT):
            if cold:
                self._buffer.sum()
            began = now()
            operation.call(*arguments, **options)
            taken.append(now() - began)
            if sum(taken) > SHORT:
                break
        return statistics.median(taken)


def between_kernels(length: int = 64, repetitions: int = 100) -> float:
    """Seconds that a kernel takes in a chain of tiny ones, forward and backward, more than it takes alone."""
    x = torch.randn(8, requires_grad=True)
    chained, alone = [], []
    for _ in range(repetitions):
        began = now()
        y = x
        for _ in range(length):
            y = y * 1.01
        torch.autograd.grad(y.sum(), [x])
        chained.append(now() - began)
        with torch.no_grad():
            began = now()
            for _ in range(length):
                torch.ops.aten.mul.Scalar(x, 1.01)
            alone.append(now() - began)
    return max(0.0, (statistics.median(chained) / 2 - statistics.median(alone)) / length)


def _as_it_runs(operation: Operation) -> Any:
    """Its arguments; beside float32 weights LayerNorm has float32 statistics, of which a trace says otherwise."""
    if operation.call is not torch.ops.aten.native_layer_norm_backward.default:
        return operation.arguments
    (gradient, x, shape, mean, deviation, weight, *rest), options = operation.arguments
    mean, deviation = (replace(one, dtype=(weight or x).dtype) for one in (mean, deviation))
    return (gradient, x, shape, mean, deviation, weight, *rest), options


def _filled(operation: Operation) -> Any:
    """A function from what a trace remembers of an argument to an argument."""
    ends: Tensor | None = None
    if "grouped_mm" in str(operation.call):  # as many rows to each group
        left, right, where = (leaf for leaf in tree_leaves(operation.arguments) if isinstance(leaf, Shape))
        rows, groups = left.size[0 if len(right.size) == 3 else 1], where.size[0]
        ends = (torch.arange(1, groups + 1) * rows // groups).to(torch.int32)

    def fill(value: Any) -> Any:
        if not isinstance(value, Shape):
            return value
        if ends is not None and value.dtype == torch.int32:
            return ends
        return _tensor(value)

    return fill


def _tensor(shape: Shape) -> Tensor:
    """With data: small numbers, no denormals, every index 0."""
    tensor = torch.empty_strided(shape.size, shape.stride, dtype=shape.dtype)
    if shape.dtype.is_floating_point:
        return tensor.fill_(0.5) if 0 in shape.stride else tensor.normal_()
    return tensor.fill_(0)
