"""Muon for matrices that may be sharded over ranks, with a skip that the host need not know of.

`torch.optim.Muon` run on FSDP's DTensors sums bfloat16 parts over the ranks inside its Newton-Schulz iteration, so
its result depends on how many ranks there are. Here momentum stays sharded, and each update is gathered and
orthogonalised whole: the same numbers on any number of ranks, and those of `torch.optim.Muon` on one.

    4 of 128 × 512, 4 of 512 × 128 → one stack of 8, orthogonalised at once     2 of 4096 × 11008 → one after the other

Knows nothing of which parameters it is given.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); scaled to AdamW's root mean square by Liu et al. 2025
(arXiv 2502.16982), so that learning rate and weight decay mean the same for both optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; Jordan's, and torch's default."""
ITERATIONS = 5
EPSILON = 1e-7
SMALL = 2**17
"""Elements of a matrix up to which those of one shape are stacked: on the CPU in bfloat16 the same bits in two thirds
of the time. Larger ones gain nothing and would all be in memory at once."""


class Muon(torch.optim.Muon):
    """`torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, indifferent to sharding.

    `found_inf`, a float scalar on the device, is read by `step` as fused AdamW reads it: where it is not 0, neither
    parameters nor momentum change.
    """

    found_inf: Tensor | None = None

    def __init__(self, params: Any, *, momentum: float, dtype: torch.dtype = torch.bfloat16) -> None:
        """`dtype` is that of the orthogonalisation; torch's is bfloat16."""
        self._dtype = dtype
        super().__init__(params, momentum=momentum, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for parameters in stacks([parameter for parameter in group["params"] if parameter.grad is not None]):
                updates = orthogonalise_whole([self._update(parameter, group) for parameter in parameters], self._dtype)
                for parameter, update in zip(parameters, updates, strict=True):
                    self._move(parameter, update, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """What is to be orthogonalised: the gradient, smoothed."""
        gradient = parameter.grad
        assert gradient is not None
        momentum: Tensor = self.state[parameter]["momentum_buffer"]
        if self.found_inf is not None:
            # A gradient equal to the momentum leaves the momentum as it is.
            gradient = torch.where(self.found_inf.bool(), momentum, gradient)
        momentum.lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(momentum, group["momentum"])

    def _move(self, parameter: Tensor, update: Tensor, group: dict[str, Any]) -> None:
        rate = group["lr"] * 0.2 * math.sqrt(max(parameter.shape))
        new = (parameter * (1 - group["lr"] * group["weight_decay"])).add_(update, alpha=-rate)
        parameter.copy_(new if self.found_inf is None else torch.where(self.found_inf.bool(), parameter, new))


def stacks(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """Which matrices are orthogonalised together: small ones of one shape or its transpose. Others are alone."""
    together: dict[tuple[int, ...], list[Tensor]] = {}
    for number, parameter in enumerate(parameters):
        shape = tuple(sorted(parameter.shape))
        together.setdefault(shape if parameter.numel() <= SMALL else (*shape, number), []).append(parameter)
    return list(together.values())


def orthogonalise_whole(updates: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """`orthogonalise` of matrices that may be sharded; the results are sharded alike."""
    wholes = [update.full_tensor() if isinstance(update, DTensor) else update for update in updates]
    results = [result.to(update.dtype) for result, update in zip(orthogonalise(wholes, dtype), updates, strict=True)]
    # Every rank holds the same whole, so each keeps its own part and nothing is sent.
    return [
        distribute_tensor(result, update.device_mesh, update.placements, src_data_rank=None)
        if isinstance(update, DTensor)
        else result
        for result, update in zip(results, updates, strict=True)
    ]


def orthogonalise(matrices: Sequence[Float[Tensor, "_ _"]], dtype: torch.dtype) -> list[Float[Tensor, "_ _"]]:
    """Matrices with singular values brought near 1 (between about 0.7 and 1.2), computed in `dtype`.

    Small singular values are amplified several hundredfold, rounding errors with them: in bfloat16 the last bit of a
    gradient of low rank shows in the update.

    Args:
        matrices: of one shape, or its transpose.
        dtype: of the products.
    """
    a, b, c = COEFFICIENTS
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    x = torch.stack([matrix.to(dtype) for matrix in wide]) if len(wide) > 1 else wide[0].to(dtype)
    add_product = torch.baddbmm if len(wide) > 1 else torch.addmm
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    results = x.unbind() if len(wide) > 1 else [x]
    return [
        result if matrix.shape[0] <= matrix.shape[1] else result.T
        for result, matrix in zip(results, matrices, strict=True)
    ]
