"""Muon for matrices that may be sharded over ranks, with a skip that the host need not know of.

`torch.optim.Muon` run on FSDP's DTensors sums bfloat16 parts over the ranks inside its Newton-Schulz iteration, so
its result depends on how many ranks there are. Here momentum stays sharded, and each update is gathered and
orthogonalised whole: the same numbers on any number of ranks, and those of `torch.optim.Muon` on one. Knows nothing
of which parameters it is given.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); scaled to AdamW's root mean square by Liu et al. 2025
(arXiv 2502.16982), so that learning rate and weight decay mean the same for both optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; Jordan's, and torch's default."""
ITERATIONS = 5
EPSILON = 1e-7


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
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        momentum: Tensor = self.state[parameter]["momentum_buffer"]
        if self.found_inf is not None:
            # A gradient equal to the momentum leaves the momentum as it is.
            gradient = torch.where(self.found_inf.bool(), momentum, gradient)
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = orthogonalise_whole(gradient.lerp(momentum, group["momentum"]), self._dtype)
        rate = group["lr"] * 0.2 * math.sqrt(max(parameter.shape))
        new = (parameter * (1 - group["lr"] * group["weight_decay"])).add_(update, alpha=-rate)
        parameter.copy_(new if self.found_inf is None else torch.where(self.found_inf.bool(), parameter, new))


def orthogonalise_whole(update: Tensor, dtype: torch.dtype) -> Tensor:
    """`orthogonalise` of a matrix that may be sharded; the result is sharded alike."""
    if not isinstance(update, DTensor):
        return orthogonalise(update, dtype).to(update.dtype)
    whole = orthogonalise(update.full_tensor(), dtype).to(update.dtype)
    # Every rank holds the same whole, so each keeps its own part and nothing is sent.
    return distribute_tensor(whole, update.device_mesh, update.placements, src_data_rank=None)


def orthogonalise(matrix: Float[Tensor, "m n"], dtype: torch.dtype) -> Float[Tensor, "m n"]:
    """The matrix with singular values brought near 1 (between about 0.7 and 1.2), computed in `dtype`.

    Small singular values are amplified several hundredfold, rounding errors with them: in bfloat16 the last bit of a
    gradient of low rank shows in the update.
    """
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix.to(dtype) if wide else matrix.to(dtype).T
    x = x / x.norm().clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T
