"""The image encoder: a vision transformer from pixels to one feature vector a patch.

    images (I, 3, H, W) uint8 → normalise → stem → + positions → blocks → features (I, P, D), P = (H / patch_size)²

    encoder = ImageEncoder(ImageEncoderConfig(image_size=48, patch_size=8))
    features = encoder(encoder.normalise(images))      # (I, 36, 96); I may be 0

With `stem="patch"`, a class token and the norms set as CLIP sets them it computes what CLIP's ViT computes. Knows
nothing of what the features are for. Shape letters: I images, P patches, D dim, T tokens (patches and class token).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from mm1.config import Config
from mm1.models.attention import attend
from mm1.models.initialization import initialise, truncated_normal_


class ImageEncoderConfig(Config):
    """Shape of an image encoder."""

    image_size: PositiveInt = 48
    """Side of the square input, in pixels."""
    patch_size: PositiveInt = 8
    dim: PositiveInt = 96
    num_layers: PositiveInt = 3
    num_heads: PositiveInt = 4
    mlp_dim: PositiveInt = 384
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    """`quick_gelu` is x·sigmoid(1.702 x), which OpenAI's and the DFN-5B weights need: exact GELU degrades them."""
    stem: Literal["patch", "conv"] = "patch"
    """`patch` is one convolution without overlap (ViT, CLIP); `conv` is log2(patch_size) 3x3 convolutions of stride 2
    and a 1x1 (Xiao et al. 2021, arXiv 2106.14881): not in MM1, it learns faster at the tiny scale."""
    class_token: bool = False
    pre_norm: bool = False
    """A LayerNorm before the first block (CLIP)."""
    post_norm: bool = True
    """A LayerNorm after the last block. Hugging Face's `last_hidden_state` of CLIP comes before it."""
    norm_eps: float = 1e-5
    feature_layer: int = -1
    """Which block's output the features are, counted from the end: -1 is the last (Honeybee), -2 the last but one
    (LLaVA-1.5). MM1 does not say. Features before the last block skip `post_norm`."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Of the pixels in [0, 1], by channel; CLIP's."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    @model_validator(mode="after")
    def _check(self) -> ImageEncoderConfig:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.stem == "conv" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            raise ValueError(f"patch_size {self.patch_size} is not a power of 2, which the stem 'conv' needs")
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        if not -self.num_layers <= self.feature_layer <= -1:
            raise ValueError(f"feature_layer {self.feature_layer} is not between -{self.num_layers} and -1")
        return self

    @property
    def num_patches(self) -> int:
        """Features an image."""
        return (self.image_size // self.patch_size) ** 2


class ImageEncoder(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) of pre-norm blocks."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = _patch_stem(config) if config.stem == "patch" else _conv_stem(config)
        self.class_token = nn.Parameter(torch.empty(config.dim)) if config.class_token else None
        self.positions = nn.Parameter(torch.empty(config.num_patches + config.class_token, config.dim))
        self.pre_norm = nn.LayerNorm(config.dim, config.norm_eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.post_norm = nn.LayerNorm(config.dim, config.norm_eps) if config.post_norm else nn.Identity()
        initialise(self, config.num_layers, residual_outputs=("output", "down"))
        truncated_normal_(self.positions)
        if self.class_token is not None:
            truncated_normal_(self.class_token)

    def normalise(self, images: UInt8[Tensor, "I 3 height width"]) -> Float[Tensor, "I 3 height width"]:
        """Pixels 0…255 to zero mean and unit variance by the config's `mean` and `std`."""
        channels = zip(images.unbind(1), self.config.mean, self.config.std, strict=True)
        return torch.stack([pixels * (1 / (255 * std)) - mean / std for pixels, mean, std in channels], dim=1)

    def forward(self, pixels: Float[Tensor, "I 3 height width"]) -> Float[Tensor, "I P D"]:
        """Patch features in raster order, without the class token."""
        tokens = self._run(pixels, self.config.num_layers + 1 + self.config.feature_layer)
        return tokens[:, 1:] if self.config.class_token else tokens

    def pool(self, pixels: Float[Tensor, "I 3 height width"]) -> Float[Tensor, "I D"]:
        """One vector an image for contrastive training: the class token or the mean patch, after all blocks."""
        tokens = self._run(pixels, self.config.num_layers)
        return tokens[:, 0] if self.config.class_token else tokens.mean(1)

    def unused_by_features(self) -> Iterator[nn.Parameter]:
        """Parameters after the feature layer: `pool` needs them, `forward` does not."""
        if self.config.feature_layer < -1:
            for block in self.blocks[self.config.feature_layer + 1 :]:
                yield from block.parameters()
            yield from self.post_norm.parameters()

    def _run(self, pixels: Tensor, num_layers: int) -> Tensor:
        size = self.config.image_size
        assert pixels.shape[2:] == (size, size), f"images of {tuple(pixels.shape[2:])} pixels, not {size} x {size}"
        tokens = self.stem(pixels.to(self.positions.dtype)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.to(tokens.dtype).expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = self.pre_norm(tokens + self.positions)
        for block in self.blocks[:num_layers]:
            tokens = block(tokens)
        whole = num_layers == self.config.num_layers
        result: Tensor = self.post_norm(tokens) if whole else tokens
        return result


class EncoderBlock(nn.Module):
    """Bidirectional attention and MLP, each normalised before and added after; biases everywhere, as CLIP."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.activation = F.gelu if config.activation == "gelu" else _quick_gelu
        self.attention_norm = nn.LayerNorm(config.dim, config.norm_eps)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.output = nn.Linear(config.dim, config.dim)
        self.mlp_norm = nn.LayerNorm(config.dim, config.norm_eps)
        self.up = nn.Linear(config.dim, config.mlp_dim)
        self.down = nn.Linear(config.mlp_dim, config.dim)

    def forward(self, tokens: Float[Tensor, "I T D"]) -> Float[Tensor, "I T D"]:
        heads = self.qkv(self.attention_norm(tokens)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        tokens = tokens + self.output(attend(q, k, v).transpose(1, 2).flatten(2))
        mixed: Tensor = tokens + self.down(self.activation(self.up(self.mlp_norm(tokens))))
        return mixed


def _patch_stem(config: ImageEncoderConfig) -> nn.Conv2d:
    return nn.Conv2d(3, config.dim, config.patch_size, stride=config.patch_size, bias=False)


def _conv_stem(config: ImageEncoderConfig) -> nn.Sequential:
    """Halves the grid `log2(patch_size)` times; widths double up to `dim`."""
    halvings = config.patch_size.bit_length() - 1
    widths = [3, *(max(config.dim >> (halvings - 1 - step), 8) for step in range(halvings))]
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Conv2d(width_in, width_out, 3, stride=2, padding=1), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], config.dim, 1))


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)
