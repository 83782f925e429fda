"""Adafactor for parameters that may be sharded over ranks, with a skip that the host need not know of.

    gradient² of (m, n)  ──mean over n──→ row (m)    ┐ moving means; their product over their mean stands for the
                         ──mean over m──→ column (n) ┘ m × n second moments that Adam keeps

    update = gradient / √moments, divided by its own RMS where that is beyond `clip`
    w ← w - lr · ([RMS of w] · update + weight_decay · w)

Shazeer & Stern 2018 (arXiv 1804.04235), in the order of AXLearn, with which MM1 was trained: factored moments, clipping
by the block's RMS, learning rate, and the parameter's size only where asked for; no momentum. Moments are factored over
the last two dimensions, where both are long enough to save something; before them stand experts, each with its own.
Sums over what other ranks hold are taken in float64, so that rounding to float32 leaves the numbers of one process.
Knows nothing of which parameters it is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

EPSILON = 1e-30
"""Added to squared gradients; the paper's ε₁, and AXLearn's."""
SMALLEST_SIZE = 1e-3
"""What a parameter's RMS is taken for where it is less, so that zeros can move; the paper's ε₂."""
FACTOR_FROM = 128
"""Moments are kept whole where one of the last two dimensions is shorter, as in AXLearn: there is little to save."""

Ranks: TypeAlias = tuple[dist.ProcessGroup, ...]
"""Over which groups of ranks one after another a sum goes on; () where this rank has all of it."""


class Adafactor(torch.optim.Optimizer):
    """Adam's second moments as the product of two vectors.

    `found_inf`, a float scalar on the device, is read by `step` as fused AdamW reads it: where it is not 0, neither
    parameters nor moments change. A step computes in the gradients' memory: what they hold afterwards means nothing.
    With many ranks it is a collective of four sums of many tensors each, of which the columns' moments are the bulk.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Any,
        *,
        decay_power: float = 0.8,
        clip: float = 1.0,
        scale_by_size: bool = False,
        factor_from: int = FACTOR_FROM,
    ) -> None:
        """Allocates all state at once.

        Args:
            params: parameters, or groups of them with their `lr` and `weight_decay`.
            decay_power: the moments' decay is 1 - t^-decay_power in step t; 0 in the first.
            clip: the largest RMS of a parameter's update, before the learning rate.
            scale_by_size: multiplies updates by the parameter's RMS, so that `lr` is relative to it.
            factor_from: how long both of the last two dimensions are, at least, where moments are factored.
        """
        super().__init__(params, {"lr": 1e-3, "weight_decay": 0.0})
        self._decay_power, self._clip, self._scale_by_size = decay_power, clip, scale_by_size
        for parameter in self._parameters():
            self.state[parameter] = _initial_state(parameter, factor_from)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        moving = [parameter for parameter in self._parameters() if parameter.grad is not None]
        if not moving:
            return
        keep = 1.0 if self.found_inf is None else (self.found_inf == 0).float()
        for parameter in moving:
            self.state[parameter]["step"] += keep
        decay = 1 - self.state[moving[0]]["step"] ** -self._decay_power
        self._update_moments(moving, decay)
        self._precondition(moving)
        scales = self._scales(moving)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, scales[parameter], group)

    def _parameters(self) -> Iterable[Tensor]:
        return (parameter for group in self.param_groups for parameter in group["params"])

    def _update_moments(self, moving: Sequence[Tensor], decay: Tensor) -> None:
        """Moves the moments towards the squares of this step's gradients."""
        sums, targets = [], []
        for parameter in moving:
            state, square = self.state[parameter], _local(_gradient(parameter)).float().square()
            if "moment" in state:
                self._blend(state["moment"], square + EPSILON, decay)
                continue
            for name, dim in (("row", -1), ("column", -2)):
                sums.append((square.sum(dim, dtype=torch.float64), _sharing(parameter, dim)))
                targets.append((state[name], parameter.shape[dim]))
        for total, (moment, length) in zip(_sums(sums), targets, strict=True):
            self._blend(moment, (total / length).float() + EPSILON, decay)

    def _blend(self, moment: Tensor, square: Tensor, decay: Tensor) -> None:
        own = _local(moment)
        new = own.lerp(square, 1 - decay)
        own.copy_(new if self.found_inf is None else torch.where(self.found_inf.bool(), own, new))

    def _precondition(self, moving: Sequence[Tensor]) -> None:
        """Divides gradients by the roots of their moments, in place."""
        factored = [parameter for parameter in moving if "row" in self.state[parameter]]
        rows = [_local(self.state[parameter]["row"]) for parameter in factored]
        totals = _sums(
            [
                (row.sum(-1, dtype=torch.float64), _sharing(parameter, -2))
                for row, parameter in zip(rows, factored, strict=True)
            ]
        )
        for parameter, row, total in zip(factored, rows, totals, strict=True):
            mean = (total / parameter.shape[-2]).float()
            gradient = _local(_gradient(parameter))
            gradient.mul_((row / mean[..., None]).rsqrt()[..., None])
            gradient.mul_(_local(self.state[parameter]["column"]).rsqrt()[..., None, :])
        for parameter in moving:
            if "moment" in self.state[parameter]:
                _local(_gradient(parameter)).mul_(_local(self.state[parameter]["moment"]).rsqrt())

    def _scales(self, moving: Sequence[Tensor]) -> dict[Tensor, Tensor]:
        """What each parameter's update is multiplied by besides the learning rate."""
        rms = _rms([_gradient(parameter) for parameter in moving])
        scales = [1 / (value / self._clip).clamp(min=1.0) for value in rms]
        if self._scale_by_size:
            sizes = (size.clamp(min=SMALLEST_SIZE) for size in _rms(moving))
            scales = [scale * size for scale, size in zip(scales, sizes, strict=True)]
        return dict(zip(moving, scales, strict=True))

    def _move(self, parameter: Tensor, scale: Tensor, group: dict[str, Any]) -> None:
        own, update = _local(parameter), _local(_gradient(parameter)).mul_(scale)
        new = (own * (1 - group["lr"] * group["weight_decay"])).add_(update, alpha=-group["lr"])
        own.copy_(new if self.found_inf is None else torch.where(self.found_inf.bool(), own, new))


def _initial_state(parameter: Tensor, factor_from: int) -> dict[str, Tensor]:
    """The step, and float32 moments, sharded as the parameter: two vectors (of each matrix of a stack), or whole."""
    zeros = torch.zeros_like(parameter, dtype=torch.float32, requires_grad=False)
    step = torch.zeros((), device=parameter.device)
    if parameter.ndim >= 2 and min(parameter.shape[-2:]) >= factor_from:
        return {"step": step, "row": _summed(zeros, -1), "column": _summed(zeros, -2)}
    return {"step": step, "moment": zeros}


def _summed(zeros: Tensor, dim: int) -> Tensor:
    """Zeros without the dimension `dim`; what ranks shared of it each of them has whole."""
    summed = zeros.sum(dim)
    if not isinstance(summed, DTensor):
        return summed
    return summed.redistribute(
        placements=[Replicate() if isinstance(place, Partial) else place for place in summed.placements]
    )


def _rms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Roots of the mean squares, over all ranks."""
    sums = _sums([(_local(tensor).square().sum(dtype=torch.float64), _sharing(tensor)) for tensor in tensors])
    return [(total / max(1, tensor.numel())).sqrt().float() for total, tensor in zip(sums, tensors, strict=True)]


def _sums(parts: Sequence[tuple[Tensor, Ranks]]) -> list[Tensor]:
    """Every tensor summed over its ranks; those of the same ranks travel together."""
    together: dict[Ranks, list[int]] = defaultdict(list)
    for number, (_, ranks) in enumerate(parts):
        together[ranks].append(number)
    sums = [part for part, _ in parts]
    for ranks, numbers in together.items():
        if not ranks:
            continue
        flat = torch.cat([sums[number].flatten() for number in numbers])
        for group in ranks:
            dist.all_reduce(flat, group=group)
        for number, total in zip(numbers, torch.split(flat, [sums[number].numel() for number in numbers]), strict=True):
            sums[number] = total.view_as(sums[number])
    return sums


def _sharing(tensor: Tensor, dim: int | None = None) -> Ranks:
    """The groups of ranks among which the dimension `dim` is divided; any dimension, if None."""
    if not isinstance(tensor, DTensor):
        return ()
    wanted = range(tensor.ndim) if dim is None else (dim % tensor.ndim,)
    mesh = tensor.device_mesh
    places = enumerate(tensor.placements)
    return tuple(mesh.get_group(axis) for axis, place in places if isinstance(place, Shard) and place.dim in wanted)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _local(tensor: Tensor) -> Tensor:
    """What this rank holds; an alias."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
