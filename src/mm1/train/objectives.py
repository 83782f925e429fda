"""What is minimised: a function from a model and a batch to sums and counts. The loop knows no more than that.

    losses = next_token(model, batch)       # cross-entropy of the target tokens, and the routers' losses
    losses = contrastive(model, batch)      # CLIP: every image against every text of the global batch
    losses = autoregressive_pixels(model, batch)        # AIM: the pixels of the patches behind each image's prefix

Sums, never means: the loop divides by the number of targets over all ranks and accumulation steps. A term that is a
mean by nature (a router's) is multiplied by the microbatch's number of targets: what comes out is its mean over
microbatches and ranks, weighted by their targets. Knows nothing of optimizers or of how a model is sharded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from mm1.config import Config
from mm1.distributed.collectives import gather_with_gradients
from mm1.models.moe import Routing
from mm1.train.cross_entropy import cross_entropy
from mm1.types import Batch, Losses

Objective: TypeAlias = Callable[[nn.Module, Batch], Losses]


class LossConfig(Config):
    """Weights of what "next_token" adds to the cross-entropy; those of the routers matter to sparse models only."""

    output_z: NonNegativeFloat = 0.0
    """Of the mean over targets of logsumexp(logits)², which keeps the output's scale in check (PaLM)."""
    load_balance: NonNegativeFloat = 0.01
    """Of the load-balance losses, summed over sparse layers (MM1)."""
    router_z: NonNegativeFloat = 0.001
    """Of the routers' z-losses, summed over sparse layers (MM1)."""


MM1_LOSS = LossConfig()
"""The weights of the paper."""


def next_token(model: nn.Module, batch: Batch, config: LossConfig = MM1_LOSS) -> Losses:
    """Cross-entropy at the target positions only; images and other text carry none. `model` has an `output_weight`.

    `total` has the auxiliary terms that `config` weighs; the sums by source are of the cross-entropy alone.
    """
    hidden, routing = model(batch)
    chosen = hidden.flatten(0, 1).index_select(0, batch.target_index)
    targets, sources = (ids.flatten()[batch.target_index] for ids in (batch.targets, batch.source_ids))
    weight: Tensor = model.output_weight  # type: ignore[assignment]
    total, losses, squares = cross_entropy(chosen, weight, targets, config.output_z)
    result = replace(_losses(losses, sources, batch), total=total)
    if config.output_z:
        result = replace(result, extra={"output_z": squares.sum() / result.count.clamp(min=1)})
    return _with_routing(result, routing, config) if routing else result


def _with_routing(losses: Losses, routing: tuple[Routing, ...], config: LossConfig) -> Losses:
    """`losses` with the routers' in their total, and what is worth watching of the sparse layers in their extra.

    Of the layers, `load_balance`, `router_z`, `router_entropy` and `dropped` are means; `max_load` is the largest load
    of any expert of any layer, as a multiple of the fair share.
    """
    layers = Routing(*(torch.stack(values) for values in zip(*routing, strict=True)))
    auxiliary = config.load_balance * layers.load_balance.sum() + config.router_z * layers.router_z.sum()
    statistics = {
        "load_balance": layers.load_balance.mean(),
        "router_z": layers.router_z.mean(),
        "router_entropy": layers.entropy.mean(),
        "max_load": layers.load.max() * layers.load.shape[1],
        "dropped": layers.dropped.mean(),
    }
    extra = {**losses.extra, **{name: value.detach() for name, value in statistics.items()}}
    return replace(losses, total=losses.total + losses.count * auxiliary, extra=extra)


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
    return _losses(losses, _image_sources(batch), batch, extra)


def autoregressive_pixels(model: nn.Module, batch: Batch) -> Losses:
    """AIM's squared error of normalised pixels, the mean over a patch (El-Nouby et al. 2024, arXiv 2401.08541).

    A target is a patch behind its image's prefix, so an image weighs by the patches that it leaves to predict.
    """
    predictions, targets, predicted = model(batch)
    with torch.autocast(targets.device.type, enabled=False):
        errors = (predictions.float() - targets).square().mean(-1) * predicted
    return _losses(errors.sum(1), _image_sources(batch), batch, counts=predicted.sum(1, dtype=errors.dtype))


def build_objective(name: str, config: LossConfig) -> Objective:
    """The objective that a stage's config names; `config` weighs the terms of "next_token", the others have one."""
    objectives: dict[str, Objective] = {
        "next_token": functools.partial(next_token, config=config),
        "contrastive": contrastive,
        "autoregressive_pixels": autoregressive_pixels,
    }
    return objectives[name]


def _losses(
    losses: Float[Tensor, " K"],
    sources: Int[Tensor, " K"],
    batch: Batch,
    extra: dict[str, Tensor] | None = None,
    counts: Float[Tensor, " K"] | None = None,
) -> Losses:
    """Sums by source from one loss a target, or from the sums of `counts` targets each."""
    counts = torch.ones_like(losses) if counts is None else counts
    by_source = losses.new_zeros(2, len(batch.source_names))
    by_source = by_source.index_add(1, sources, torch.stack([losses.detach(), counts]))
    return Losses(
        total=losses.sum(),
        count=counts.sum(),
        source_totals=by_source[0],
        source_counts=by_source[1],
        extra=extra or {},
    )


def _image_sources(batch: Batch) -> Int[Tensor, " I"]:
    """The source of each image's segment."""
    rows = batch.source_ids[batch.image_rows]
    own = batch.segment_ids[batch.image_rows] == batch.image_segments[:, None]
    return torch.where(own, rows, -1).amax(1)
