"""CLIP: an image encoder and a causal text tower that agree on which text belongs to which image.

    images → image_encoder.pool → image_projection → unit vectors (I, E) ┐
    packed text → text_tower → last token of each image's segment        ├ CLIPOutput
                             → text_projection → unit vectors (I, E)     ┘

Data is encoded with one place an image: a start mark to the text tower, which never sees the image. The loss belongs
to `train/`. Radford et al. 2021 (arXiv 2103.00020). Shape letters: I images, E embedding dim.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from mm1.config import Config
from mm1.models.attention import AttentionMask
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.image_encoder import ImageEncoder, ImageEncoderConfig
from mm1.models.initialization import filled, truncated_normal_
from mm1.types import Batch

INITIAL_TEMPERATURE = 0.07
MAX_LOGIT_SCALE = 100.0
"""Both from the CLIP paper, section 2.5 and its pseudocode."""


class CLIPConfig(Config):
    """Shape of a contrastive image-text model."""

    kind: Literal["clip"] = "clip"
    image_encoder: ImageEncoderConfig
    text_tower: DecoderConfig
    """Causal, so packed texts share rows; its output matrix is never used, hence tied."""
    embed_dim: PositiveInt = 128

    @model_validator(mode="after")
    def _check(self) -> CLIPConfig:
        if self.image_encoder.depth < self.image_encoder.num_layers:
            raise ValueError("image_encoder.num_layers_used is for the model that uses the encoder: pretrain all of it")
        if self.text_tower.moe is not None:
            raise ValueError(
                "text_tower.moe: the contrastive loss has no terms that keep routers balanced, set it to null"
            )
        return self

    @property
    def num_image_tokens(self) -> int:
        """Positions that an image takes in the text tower's rows."""
        return 1


class CLIPOutput(NamedTuple):
    """Embeddings of pairs: row i of both belongs to image i of the batch."""

    image_embeddings: Float[Tensor, "I E"]
    """Of length 1, float32."""
    text_embeddings: Float[Tensor, "I E"]
    logit_scale: Float[Tensor, ""]
    """What cosine similarities are multiplied by: the inverse temperature, not its logarithm."""


class CLIP(nn.Module):
    """Two towers and a temperature. `image_encoder` is the prefix under which MM1 finds the encoder's weights."""

    upper_bounds: ClassVar[dict[str, float]] = {"logit_scale": math.log(MAX_LOGIT_SCALE)}
    """Parameters that whoever moves them puts back to these after each step. A clamp in `forward` would have gradient 0
    beyond the bound, and the parameter would stay there for ever."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config.image_encoder)
        self.text_tower = Decoder(config.text_tower)
        self.image_projection = nn.Linear(config.image_encoder.dim, config.embed_dim, bias=False)
        self.text_projection = nn.Linear(config.text_tower.dim, config.embed_dim, bias=False)
        for projection in (self.image_projection, self.text_projection):
            truncated_normal_(projection.weight, projection.in_features**-0.5)
        self.logit_scale = filled(1, math.log(1 / INITIAL_TEMPERATURE))
        """Logarithm of the scale, so that it stays positive. One-dimensional, because FSDP shards no scalars."""

    def forward(self, batch: Batch) -> CLIPOutput:
        """Embeddings of every image and of the text that shares its segment."""
        images = self.image_projection(self.image_encoder.pool(self.image_encoder.normalise(batch.images)))
        mask = AttentionMask.from_segments(batch.segment_ids)
        hidden = self.text_tower(self.text_tower.embed(batch.tokens), batch.positions, mask).hidden
        # An embedding look-up rather than indexing: its backward is deterministic.
        texts = self.text_projection(F.embedding(last_positions(batch), hidden.flatten(0, 1)))
        return CLIPOutput(
            image_embeddings=F.normalize(images.float(), dim=-1),
            text_embeddings=F.normalize(texts.float(), dim=-1),
            logit_scale=self.logit_scale.exp().sum(),
        )


def last_positions(batch: Batch) -> Int[Tensor, " I"]:
    """Flat position (row · S + column) of the last token in each image's segment."""
    length = batch.tokens.shape[1]
    column = torch.arange(length, device=batch.tokens.device)
    own = batch.segment_ids[batch.image_rows] == batch.image_segments[:, None]
    return batch.image_rows * length + torch.where(own, column, 0).amax(dim=1)
