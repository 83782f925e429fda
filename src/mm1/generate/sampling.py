"""From logits to a token: greedy, or drawn at a temperature from the likeliest ones.

    SamplingConfig()                                        # greedy
    SamplingConfig(temperature=0.7, top_p=0.9, seed=3)      # the same tokens at every call, in any batch

Every request brings its own settings and its own uniform number, so what it draws does not depend on its neighbours.
Knows nothing of models or of what the ids mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mm1.config import Config, Seed


class SamplingConfig(Config):
    """How one request chooses its tokens. The cuts apply in this order, each to what the one before left."""

    temperature: float = Field(default=0.0, ge=0.0)
    """0 takes the likeliest token; 1 draws from the model's own distribution."""
    top_k: int | None = Field(default=None, ge=1)
    """Only the k likeliest."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Only the fewest likeliest that together reach this probability (Holtzman et al. 2019, arXiv 1904.09751)."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Only those at least this share as likely as the likeliest (Nguyen et al. 2024, arXiv 2407.01082)."""
    seed: Seed = 0


def choose(
    logits: Float[Tensor, "B V"], configs: Sequence[SamplingConfig], uniforms: Sequence[float]
) -> Int[Tensor, " B"]:
    """One token a row.

    Args:
        logits: float32; -inf where a token must not come.
        configs: one a row.
        uniforms: one number in [0, 1) a row, which decides what is drawn; unused by greedy rows.
    """
    greedy = logits.argmax(-1)
    if all(config.temperature == 0 for config in configs):
        return greedy
    probabilities, order, kept = candidates(logits, configs)
    cumulative = torch.where(_ranks(probabilities) < kept[:, None], probabilities, 0.0).double().cumsum(-1)
    targets = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, targets, right=True)
    sampled = order.gather(-1, drawn)[:, 0]
    is_greedy = torch.tensor([config.temperature == 0 for config in configs], device=logits.device)
    return torch.where(is_greedy, greedy, sampled)


def candidates(
    logits: Float[Tensor, "B V"], configs: Sequence[SamplingConfig]
) -> tuple[Float[Tensor, "B V"], Int[Tensor, "B V"], Int[Tensor, " B"]]:
    """Probabilities at each row's temperature, largest first; the tokens in that order; how many stay after the cuts.

    Each cut keeps a beginning of the sorted row, so one number a row says what all of them keep: at least 1.
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]

    # The likeliest becomes 0, so that no temperature, however low, makes it infinite.
    temperature = column([config.temperature or 1.0 for config in configs]).clamp(min=torch.finfo(torch.float32).tiny)
    probabilities, order = (
        ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    )
    top_k = column([float(config.top_k or logits.shape[-1]) for config in configs])
    within_k = torch.where(_ranks(probabilities) < top_k, probabilities, 0.0)
    before = (within_k.cumsum(-1) - within_k) / within_k.sum(-1, keepdim=True)
    keep = (_ranks(probabilities) < top_k) & (before < column([config.top_p for config in configs]))
    keep &= probabilities >= column([config.min_p for config in configs]) * probabilities[:, :1]
    return probabilities, order, keep.sum(-1)


def _ranks(probabilities: Tensor) -> Tensor:
    return torch.arange(probabilities.shape[-1], device=probabilities.device)
