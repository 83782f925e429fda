"""What is minimised: a function from a model and a batch to sums and counts. The loop knows no more than that.

    losses = next_token(model, batch)       # cross-entropy of the target tokens
    losses = contrastive(model, batch)      # CLIP: every image against every text of the global batch

Sums, never means: the loop divides by the number of targets over all ranks and accumulation steps. Knows nothing of
optimizers or of how a model is sharded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mm1.distributed.collectives import gather_with_gradients
from mm1.types import Batch, Losses

Objective: TypeAlias = Callable[[nn.Module, Batch], Losses]


def next_token(model: nn.Module, batch: Batch) -> Losses:
    """Cross-entropy at the target positions only, in float32; images and other text carry none."""
    hidden: Tensor = model(batch).hidden
    with torch.autocast(hidden.device.type, enabled=False):
        chosen = hidden.flatten(0, 1).index_select(0, batch.target_index).float()
        logits: Tensor = model.logits(chosen)  # type: ignore[operator]
        losses = F.cross_entropy(logits, batch.targets.flatten()[batch.target_index], reduction="none")
    return _losses(losses, batch.source_ids.flatten()[batch.target_index], batch)


def contrastive(model: nn.Module, batch: Batch) -> Losses:
    """CLIP's symmetric cross-entropy (Radford et al. 2021) over all pairs of the global batch; a target is a pair.

    Ranks may hold different numbers of pairs, or none. `extra` has the share of this rank's images whose own text
    is the nearest of the global batch, and the temperature.
    """
    output = model(batch)
    own = torch.cat([output.image_embeddings, output.text_embeddings], dim=1)
    everyone, first = gather_with_gradients(own)
    images, texts = everyone.chunk(2, dim=1)
    partner = torch.arange(first, first + len(own), device=own.device)
    with torch.autocast(own.device.type, enabled=False):
        to_texts = output.logit_scale * output.image_embeddings @ texts.T
        to_images = output.logit_scale * output.text_embeddings @ images.T
        losses = torch.stack([F.cross_entropy(side, partner, reduction="none") for side in (to_texts, to_images)]).mean(
            0
        )
    hits = (to_texts.detach().argmax(1) == partner).float() if len(own) else losses.detach()
    extra = {"accuracy": hits.sum() / max(1, len(own)), "temperature": 1 / output.logit_scale.detach()}
    return _losses(losses, _pair_sources(batch), batch, extra)


OBJECTIVES: dict[str, Objective] = {"next_token": next_token, "contrastive": contrastive}
"""By the name that a stage's config gives them."""


def _losses(
    losses: Float[Tensor, " K"], sources: Int[Tensor, " K"], batch: Batch, extra: dict[str, Tensor] | None = None
) -> Losses:
    """Sums by source from one loss a target."""
    by_source = losses.new_zeros(2, len(batch.source_names))
    detached = torch.stack([losses.detach(), torch.ones_like(losses)])
    by_source = by_source.index_add(1, sources, detached)
    return Losses(
        total=losses.sum(),
        count=torch.full((), float(losses.numel()), device=losses.device),
        source_totals=by_source[0],
        source_counts=by_source[1],
        extra=extra or {},
    )


def _pair_sources(batch: Batch) -> Int[Tensor, " I"]:
    """The source of each image's segment."""
    rows = batch.source_ids[batch.image_rows]
    own = batch.segment_ids[batch.image_rows] == batch.image_segments[:, None]
    return torch.where(own, rows, -1).amax(1)
