"""RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) that keeps its precision where autocast is on.

Autocast leaves this norm alone, so it is given bfloat16 wherever a matrix product comes right before it: after a patch
projection, on queries and keys, behind a branch. PyTorch would then mix dtypes, slowly and with a warning.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """Normalises in the dtype of its weight, which is also the dtype of what comes out."""

    def forward(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        normalised: Tensor = super().forward(hidden.to(self.weight.dtype))
        return normalised
