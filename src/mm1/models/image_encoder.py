"""The image encoder: a vision transformer from pixels to one feature vector a patch.

    images (I, 3, H, W) uint8 → normalise → stem → + positions → blocks → features (I, h, w, D), h = H / patch_size

    encoder = ImageEncoder(ImageEncoderConfig(image_size=48, patch_size=8))
    features = encoder(encoder.normalise(images))      # (I, 6, 6, 96); I may be 0

One class by config for the encoders that people have: CLIP, SigLIP, AIM, AIMv2, DINOv2. Knows nothing of what the
features are for. Shape letters: I images, h and w grid of patches, D dim, T tokens (patches and class token).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from mm1.config import Config
from mm1.models.attention import AttentionMask, attend
from mm1.models.initialization import filled, initialise, truncated_normal_
from mm1.models.norm import RMSNorm
from mm1.models.positions import resize_table, sincos_table

LAYER_SCALE = 1e-5
"""At which DINOv2's training begins (its ssl_default_config.yaml)."""


class ImageEncoderConfig(Config):
    """Shape of an image encoder."""

    image_size: PositiveInt = 48
    """Side of the square images that it is fed, in pixels."""
    position_size: PositiveInt | None = None
    """Side of the images that the positions were trained for, interpolated where `image_size` differs; None: equal."""
    patch_size: PositiveInt = 8
    dim: PositiveInt = 96
    num_layers: PositiveInt = 3
    num_layers_used: PositiveInt | None = None
    """The features are the output of this block, counted from 1, and later blocks are not built; None: of the last.
    MM1 takes 20 of the 24 of AIM-600M and does not say what it takes of CLIP. Fewer than all skip `post_norm`."""
    num_heads: PositiveInt = 4
    mlp_dim: PositiveInt = 384
    mlp: Literal["gelu", "gelu_tanh", "quick_gelu", "swiglu"] = "gelu"
    """`quick_gelu` is x·sigmoid(1.702 x), which OpenAI's and the DFN-5B weights need: exact GELU degrades them.
    `gelu_tanh` is SigLIP's approximation, `swiglu` the gated MLP of AIMv2 and of DINOv2's giant."""
    bias: bool = True
    """Biases in the linear layers of attention and MLP: AIM and AIMv2 have none."""
    layer_scale: bool = False
    """A learned factor by channel on each residual branch (DINOv2)."""
    stem: Literal["patch", "conv"] = "patch"
    """`patch` is one convolution without overlap (ViT, CLIP); `conv` is log2(patch_size) 3x3 convolutions of stride 2
    and a 1x1 (Xiao et al. 2021, arXiv 2106.14881): not in MM1, it learns faster at the tiny scale."""
    stem_bias: bool = False
    """Of the `patch` stem; the `conv` stem always has biases. All encoders but CLIP have one."""
    stem_norm: bool = False
    """A norm after the stem, before the positions are added (AIM, AIMv2)."""
    class_token: bool = False
    positions: Literal["learned", "sincos"] = "learned"
    """`sincos` is the fixed two-dimensional table of AIM."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_eps: NonNegativeFloat = 1e-5
    pre_norm: bool = False
    """A norm before the first block, after the positions (CLIP)."""
    post_norm: bool = True
    """A norm after the last block. Hugging Face's `last_hidden_state` of CLIP comes before it."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Of the pixels in [0, 1], by channel; CLIP's."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.26862954, 0.26130258, 0.27577711)

    @model_validator(mode="after")
    def _check(self) -> ImageEncoderConfig:
        for name, size in (("image_size", self.image_size), ("position_size", self.position_size)):
            if size is not None and size % self.patch_size:
                raise ValueError(f"{name} {size} is not a multiple of patch_size {self.patch_size}")
        if self.stem == "conv" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            raise ValueError(f"patch_size {self.patch_size} is not a power of 2, which the stem 'conv' needs")
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        if self.positions == "sincos" and self.dim % 4:
            raise ValueError(f"dim {self.dim} is not a multiple of 4, which the positions 'sincos' need")
        if self.num_layers_used is not None and self.num_layers_used > self.num_layers:
            raise ValueError(f"num_layers_used {self.num_layers_used} is more than num_layers {self.num_layers}")
        return self

    @property
    def num_patches(self) -> int:
        """Features of an image of `image_size`."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def position_grid(self) -> int:
        """Side of the table of positions, in patches."""
        return (self.position_size or self.image_size) // self.patch_size

    @property
    def depth(self) -> int:
        """Blocks that are built."""
        return self.num_layers_used or self.num_layers

    def leaves_out(self, name: str) -> bool:
        """Whether the tensor `name` of a whole encoder lies behind the layer whose output the features are."""
        first, _, rest = name.partition(".")
        if first == "post_norm":
            return self.depth < self.num_layers or not self.post_norm
        return first == "blocks" and int(rest.partition(".")[0]) >= self.depth


class ImageEncoder(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) of pre-norm blocks."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.config = config
        whole, table = config.depth == config.num_layers, config.position_grid**2 + config.class_token
        self.stem = _patch_stem(config) if config.stem == "patch" else _conv_stem(config)
        self.stem_norm = _norm(config) if config.stem_norm else nn.Identity()
        self.class_token = nn.Parameter(torch.empty(config.dim)) if config.class_token else None
        self.positions = nn.Parameter(torch.empty(table, config.dim)) if config.positions == "learned" else None
        self.pre_norm = _norm(config) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.depth))
        self.post_norm = _norm(config) if config.post_norm and whole else nn.Identity()
        initialise(self, config.num_layers, residual_outputs=("output", "down"))
        for parameter in (self.positions, self.class_token):
            if parameter is not None:
                truncated_normal_(parameter)

    def normalise(self, images: UInt8[Tensor, "I 3 height width"]) -> Float[Tensor, "I 3 height width"]:
        """Pixels 0…255 to zero mean and unit variance by the config's `mean` and `std`."""
        channels = zip(images.unbind(1), self.config.mean, self.config.std, strict=True)
        return torch.stack([pixels * (1 / (255 * std)) - mean / std for pixels, mean, std in channels], dim=1)

    def forward(
        self, pixels: Float[Tensor, "I 3 height width"], mask: AttentionMask | None = None
    ) -> Float[Tensor, "I h w D"]:
        """Features of the patches, without the class token.

        Args:
            pixels: normalised images, square or not; both sides are multiples of `patch_size`.
            mask: which token sees which, (I, 1, T, T); every one sees all where None.
        """
        patches = self._run(pixels, mask)[:, int(self.config.class_token) :]
        return patches.reshape(len(pixels), *self._grid(pixels), self.config.dim)

    def pool(self, pixels: Float[Tensor, "I 3 height width"]) -> Float[Tensor, "I D"]:
        """One vector an image for contrastive training: the class token or the mean patch."""
        tokens = self._run(pixels)
        return tokens[:, 0] if self.config.class_token else tokens.mean(1)

    def _run(self, pixels: Tensor, mask: AttentionMask | None = None) -> Tensor:
        """All tokens (I, T, D) after the last block, the class token first."""
        grid = self.stem(pixels.to(next(self.stem.parameters()).dtype))
        tokens = self.stem_norm(grid.flatten(2).transpose(1, 2))
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.to(tokens.dtype).expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = self.pre_norm(tokens + self._positions(*self._grid(pixels), tokens.device))
        for block in self.blocks:
            tokens = block(tokens, mask)
        result: Tensor = self.post_norm(tokens)
        return result

    def _positions(self, height: int, width: int, device: torch.device) -> Float[Tensor, "T D"]:
        """Of the class token, which keeps its own, and of a grid of `height` x `width` patches."""
        side, first = self.config.position_grid, int(self.config.class_token)
        if self.positions is None:
            table = resize_table(sincos_table(side, side, self.config.dim, device), height, width)
            return F.pad(table.flatten(0, 1), (0, 0, first, 0)).to(next(self.stem.parameters()).dtype)
        if (height, width) == (side, side):
            return self.positions
        table = resize_table(self.positions[first:].view(side, side, -1), height, width)
        return torch.cat([self.positions[:first], table.flatten(0, 1)])

    def _grid(self, pixels: Tensor) -> tuple[int, int]:
        height, width = pixels.shape[2:]
        patch = self.config.patch_size
        assert height % patch == width % patch == 0, f"{height} x {width} pixels do not divide into patches of {patch}"
        return height // patch, width // patch


class EncoderBlock(nn.Module):
    """Attention and MLP, each normalised before and added after."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        dim, bias, gated = config.dim, config.bias, config.mlp == "swiglu"
        self.num_heads = config.num_heads
        self.activation = ACTIVATIONS[config.mlp]
        self.attention_norm = _norm(config)
        self.qkv = nn.Linear(dim, 3 * dim, bias)
        self.output = nn.Linear(dim, dim, bias)
        self.attention_scale = filled(dim, LAYER_SCALE) if config.layer_scale else None
        self.mlp_norm = _norm(config)
        self.up = nn.Linear(dim, (1 + gated) * config.mlp_dim, bias)
        """Where gated, the rows of the gate, then those of what it gates."""
        self.down = nn.Linear(config.mlp_dim, dim, bias)
        self.mlp_scale = filled(dim, LAYER_SCALE) if config.layer_scale else None

    def forward(self, tokens: Float[Tensor, "I T D"], mask: AttentionMask | None = None) -> Float[Tensor, "I T D"]:
        heads = self.qkv(self.attention_norm(tokens)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        attended = self.output(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        tokens = tokens + (attended if self.attention_scale is None else attended * self.attention_scale)
        mixed: Tensor = self.down(self.activation(self.up(self.mlp_norm(tokens))))
        return tokens + (mixed if self.mlp_scale is None else mixed * self.mlp_scale)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _swiglu(gate_and_up: Tensor) -> Tensor:
    gate, up = gate_and_up.chunk(2, dim=-1)
    return F.silu(gate) * up


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": _quick_gelu,
    "swiglu": _swiglu,
}


def _norm(config: ImageEncoderConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm == "layernorm" else RMSNorm
    return kind(config.dim, config.norm_eps)


def _patch_stem(config: ImageEncoderConfig) -> nn.Conv2d:
    return nn.Conv2d(3, config.dim, config.patch_size, stride=config.patch_size, bias=config.stem_bias)


def _conv_stem(config: ImageEncoderConfig) -> nn.Sequential:
    """Halves the grid `log2(patch_size)` times; widths double up to `dim`."""
    halvings = config.patch_size.bit_length() - 1
    widths = [3, *(max(config.dim >> (halvings - 1 - step), 8) for step in range(halvings))]
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Conv2d(width_in, width_out, 3, stride=2, padding=1), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], config.dim, 1))
