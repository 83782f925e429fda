"""AIM: an image encoder that learns by predicting each patch's pixels from the patches before it.

    images → normalise ─┬→ image_encoder under a prefix-causal mask → head → predictions of patches 1 … P-1
                        └→ patches, each to zero mean and unit variance   → targets

    prefix 2 of 5 patches:    patch sees    0 1 2 3 4     predicts
                                0           x x . . .         (patch 1 is seen: no loss)
                                1           x x . . .     2
                                2           x x x . .     3
                                3           x x x x .     4
                                4           x x x x x

The prefix, seen from everywhere, prepares the encoder for its later use, in which every patch sees all. What is trained
here and kept is `image_encoder`. The loss belongs to `train/`. El-Nouby et al. 2024 (arXiv 2401.08541), and
apple/ml-aim. Shape letters: I images, P patches, K the 3·patch_size² values of a patch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from mm1.config import Config
from mm1.models.attention import AttentionMask
from mm1.models.image_encoder import ImageEncoder, ImageEncoderConfig
from mm1.models.initialization import initialise
from mm1.types import Batch


class AIMConfig(Config):
    """Shape of an autoregressive image model. The paper gives the head 12 blocks and a width of 2048 at every size."""

    kind: Literal["aim"] = "aim"
    image_encoder: ImageEncoderConfig
    head_dim: PositiveInt = 2048
    head_depth: PositiveInt = 12

    @model_validator(mode="after")
    def _check(self) -> AIMConfig:
        encoder = self.image_encoder
        if encoder.depth < encoder.num_layers:
            raise ValueError("image_encoder.num_layers_used is for the model that uses the encoder: pretrain all of it")
        if encoder.class_token:
            raise ValueError(
                "image_encoder.class_token is true, but a class token stands before all patches: AIM has none"
            )
        if encoder.stem == "conv":
            raise ValueError(
                "image_encoder.stem 'conv' lets a patch see its neighbours' pixels, which AIM predicts: use 'patch'"
            )
        if encoder.num_patches < 2:
            raise ValueError(f"image_size {encoder.image_size} is one patch, which leaves nothing to predict")
        return self

    @property
    def num_image_tokens(self) -> int:
        """Positions that an image takes in a batch's rows, which AIM does not read."""
        return 1


class AIMOutput(NamedTuple):
    """What the pixels of patches 1 … P-1 are said to be, and what they are."""

    predictions: Float[Tensor, "I P-1 K"]
    targets: Float[Tensor, "I P-1 K"]
    """Of zero mean and unit variance within each patch; float32, without a gradient."""
    predicted: Bool[Tensor, "I P-1"]
    """Which patches lie behind the prefix: the others were seen."""


class AIM(nn.Module):
    """An encoder and a head. `image_encoder` is the prefix under which MM1 finds the encoder's weights."""

    def __init__(self, config: AIMConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config.image_encoder)
        self.head = PixelHead(config)

    def forward(self, batch: Batch) -> AIMOutput:
        """Predictions and targets of every image; I may be 0."""
        pixels = self.image_encoder.normalise(batch.images)
        targets = normalised_patches(pixels, self.config.image_encoder.patch_size)[:, 1:]
        num_patches = targets.shape[1] + 1
        prefix = prefix_lengths(batch.image_seeds, num_patches)
        features = self.image_encoder(pixels, prefix_causal(prefix, num_patches)).flatten(1, 2)
        patch = torch.arange(1, num_patches, device=prefix.device)
        return AIMOutput(self.head(features[:, :-1]), targets, predicted=patch >= prefix[:, None])


class PixelHead(nn.Module):
    """Residual MLP blocks that treat each patch alone, then one linear layer to its pixels."""

    def __init__(self, config: AIMConfig) -> None:
        super().__init__()
        encoder, dim = config.image_encoder, config.head_dim
        self.enter = nn.Linear(encoder.dim, dim)
        self.blocks = nn.ModuleList(HeadBlock(dim, encoder.norm_eps) for _ in range(config.head_depth))
        self.norm = nn.LayerNorm(dim, encoder.norm_eps)
        self.pixels = nn.Linear(dim, 3 * encoder.patch_size**2)
        initialise(self, config.head_depth, residual_outputs=("down",))

    def forward(self, features: Float[Tensor, "I Q D"]) -> Float[Tensor, "I Q K"]:
        hidden = self.enter(features)
        for block in self.blocks:
            hidden = block(hidden)
        pixels: Tensor = self.pixels(self.norm(hidden))
        return pixels


class HeadBlock(nn.Module):
    """The MLP half of a transformer block, with biases."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, norm_eps)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, hidden: Float[Tensor, "I Q D"]) -> Float[Tensor, "I Q D"]:
        mixed: Tensor = hidden + self.down(F.gelu(self.up(self.norm(hidden))))
        return mixed


def prefix_lengths(image_seeds: Int[Tensor, " I"], num_patches: int) -> Int[Tensor, " I"]:
    """Uniform in 1 … P-1, and decided by an image's seed alone: the same for any number of processes."""
    return 1 + image_seeds.remainder(num_patches - 1)


def prefix_causal(prefix: Int[Tensor, " I"], num_patches: int) -> AttentionMask:
    """A patch sees itself, those before it in raster order, and the image's whole prefix."""
    real = torch.ones(len(prefix), num_patches, dtype=torch.bool, device=prefix.device)
    return AttentionMask(lambda row, query, key: (key <= query) | (key < prefix[row]), num_patches, real)


def normalised_patches(pixels: Float[Tensor, "I 3 height width"], size: int) -> Float[Tensor, "I P K"]:
    """The patches in raster order, each less its mean and divided by its standard deviation, as MAE's targets.

    He et al. 2021 (arXiv 2111.06377): over all pixels and channels of a patch; the variance with Bessel's correction
    and 1e-6 more.
    """
    patches = F.unfold(pixels.float(), size, stride=size).transpose(1, 2)
    centred = patches - patches.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / (patches.shape[-1] - 1)
    return centred / (variance + 1e-6).sqrt()
