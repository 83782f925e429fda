"""The connector: patch features of any grid to `num_image_tokens` vectors of the decoder's width.

    features (I, h, w, D_in) → connector → image tokens (I, N, D_out)

    connector = build_connector(CAbstractorConfig(), position_grid=27, input_dim=1280, output_dim=4096)
    connector(torch.randn(2, 27, 27, 1280))            # (2, 144, 4096), and so it is from a grid of 48 x 32

A new connector is one config, one class and one line in `build_connector`. The MM1 paper compares these three and
finds no consistent difference; it takes the C-Abstractor. Knows nothing of the encoder before it or the decoder after.
Grids stay channels-last inside: on the CPU a 1x1 convolution as a linear layer is far cheaper.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from mm1.config import Config, UserError
from mm1.models.attention import attend
from mm1.models.initialization import initialise, truncated_normal_
from mm1.models.positions import resize_table


class AvgPoolConfig(Config):
    """n x n average pool of the patch grid and one linear layer (as Emu2)."""

    kind: Literal["avg_pool"] = "avg_pool"
    num_image_tokens: PositiveInt = 144
    """A square; it need not divide the grid."""


class AttentionPoolConfig(Config):
    """Learned queries, one cross-attention block, one linear layer. Depth, heads and MLP are ours: MM1 gives none."""

    kind: Literal["attention_pool"] = "attention_pool"
    num_image_tokens: PositiveInt = 144
    num_heads: PositiveInt = 4
    """Must divide the encoder's dim."""


class CAbstractorConfig(Config):
    """Honeybee's C-Abstractor (Cha et al. 2023, arXiv 2312.06742), with the defaults of its code."""

    kind: Literal["c_abstractor"] = "c_abstractor"
    num_image_tokens: PositiveInt = 144
    hidden_dim: PositiveInt = 1024
    depth: NonNegativeInt = 3
    """Residual blocks before the pool, and again after it."""
    mlp_depth: PositiveInt = 2
    """Linear layers of the read-out."""


ConnectorConfig: TypeAlias = Annotated[
    AvgPoolConfig | AttentionPoolConfig | CAbstractorConfig, Field(discriminator="kind")
]


class Connector(nn.Module, ABC):
    """Maps patch features to image tokens."""

    num_image_tokens: int

    @abstractmethod
    def forward(self, features: Float[Tensor, "I h w D_in"]) -> Float[Tensor, "I N D_out"]:
        """Image tokens; I may be 0."""


def build_connector(config: ConnectorConfig, position_grid: int, input_dim: int, output_dim: int) -> Connector:
    """The connector of `config` between an encoder's features and a decoder.

    Args:
        config: which, and its shape.
        position_grid: side of the grid for which a connector with positions holds its table; other grids interpolate.
        input_dim: of the features.
        output_dim: of the image tokens.

    Raises:
        UserError: a count that must be a square is not one, or the heads do not divide `input_dim`.
    """
    match config:
        case AvgPoolConfig():
            return AvgPool(config, input_dim, output_dim)
        case AttentionPoolConfig():
            return AttentionPool(config, input_dim, output_dim)
        case CAbstractorConfig():
            return CAbstractor(config, position_grid, input_dim, output_dim)


class AvgPool(Connector):
    """Averages over the grid, then projects."""

    def __init__(self, config: AvgPoolConfig, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.num_image_tokens = config.num_image_tokens
        self.pooled = _side(config.num_image_tokens)
        self.projection = nn.Linear(input_dim, output_dim)
        initialise(self)

    def forward(self, features: Float[Tensor, "I h w D_in"]) -> Float[Tensor, "I N D_out"]:
        tokens: Tensor = self.projection(pool(features, self.pooled).flatten(1, 2))
        return tokens


class AttentionPool(Connector):
    """Queries look at all patches once; an MLP and a projection follow."""

    def __init__(self, config: AttentionPoolConfig, input_dim: int, output_dim: int) -> None:
        super().__init__()
        if input_dim % config.num_heads:
            raise UserError(f"connector.num_heads {config.num_heads} does not divide the encoder's dim {input_dim}")
        self.num_image_tokens = config.num_image_tokens
        self.num_heads = config.num_heads
        self.queries = nn.Parameter(torch.empty(config.num_image_tokens, input_dim))
        self.query_norm = nn.LayerNorm(input_dim)
        self.feature_norm = nn.LayerNorm(input_dim)
        self.query = nn.Linear(input_dim, input_dim)
        self.key_value = nn.Linear(input_dim, 2 * input_dim)
        self.output = nn.Linear(input_dim, input_dim)
        self.mlp_norm = nn.LayerNorm(input_dim)
        self.up = nn.Linear(input_dim, 4 * input_dim)
        self.down = nn.Linear(4 * input_dim, input_dim)
        self.projection = nn.Linear(input_dim, output_dim)
        initialise(self)
        truncated_normal_(self.queries, 1.0)  # distinct from the start: equal queries would stay equal for long

    def forward(self, features: Float[Tensor, "I h w D_in"]) -> Float[Tensor, "I N D_out"]:
        q = self.query(self.query_norm(self.queries)).unflatten(-1, (self.num_heads, -1)).transpose(0, 1)
        kv = self.key_value(self.feature_norm(features.flatten(1, 2))).unflatten(-1, (2, self.num_heads, -1))
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attend(q.expand(len(features), -1, -1, -1), k, v).transpose(1, 2).flatten(2)
        hidden = self.queries + self.output(mixed)
        hidden = hidden + self.down(F.gelu(self.up(self.mlp_norm(hidden))))
        tokens: Tensor = self.projection(hidden)
        return tokens


class CAbstractor(Connector):
    """Convolutional blocks, a pool to the token grid, convolutional blocks again, an MLP."""

    def __init__(self, config: CAbstractorConfig, position_grid: int, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.num_image_tokens = config.num_image_tokens
        self.pooled = _side(config.num_image_tokens)
        self.position_grid = position_grid
        width = config.hidden_dim if config.depth else input_dim
        self.positions = nn.Parameter(torch.empty(position_grid**2, input_dim))
        self.before = nn.Sequential(*(Bottleneck(width if i else input_dim, width) for i in range(config.depth)))
        self.after = nn.Sequential(*(Bottleneck(width, width) for _ in range(config.depth)))
        self.read_out = nn.Sequential(nn.Linear(width, output_dim))
        for _ in range(config.mlp_depth - 1):
            self.read_out.extend([nn.SiLU(), nn.Linear(output_dim, output_dim)])
        initialise(self)
        truncated_normal_(self.positions)

    def forward(self, features: Float[Tensor, "I h w D_in"]) -> Float[Tensor, "I N D_out"]:
        table = self.positions.view(self.position_grid, self.position_grid, -1)
        before = self.before(features + resize_table(table, *features.shape[1:3]))
        tokens: Tensor = self.read_out(self.after(pool(before, self.pooled)).flatten(1, 2))
        return tokens


class Bottleneck(nn.Module):
    """RegNet's residual block as Honeybee builds it with timm: 1x1, depthwise 3x3, squeeze-excitation, 1x1.

    Bottleneck ratio 1, group size 1, squeeze ratio 0.25 of the block's input width; LayerNorm over the channels with
    timm's eps; SiLU; no biases in the convolutions.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.enter = nn.Linear(input_dim, output_dim, bias=False)
        self.enter_norm = nn.LayerNorm(output_dim, eps=1e-5)
        self.depthwise = nn.Conv2d(output_dim, output_dim, 3, padding=1, groups=output_dim, bias=False)
        self.depthwise_norm = nn.LayerNorm(output_dim, eps=1e-5)
        self.squeeze = nn.Linear(output_dim, round(input_dim * 0.25))
        self.excite = nn.Linear(round(input_dim * 0.25), output_dim)
        self.leave = nn.Linear(output_dim, output_dim, bias=False)
        self.leave_norm = nn.LayerNorm(output_dim, eps=1e-5)
        same = input_dim == output_dim
        self.shortcut = nn.Identity() if same else nn.Linear(input_dim, output_dim, bias=False)
        self.shortcut_norm = nn.Identity() if same else nn.LayerNorm(output_dim, eps=1e-5)

    def forward(self, grid: Float[Tensor, "I h w C_in"]) -> Float[Tensor, "I h w C_out"]:
        x = F.silu(self.enter_norm(self.enter(grid)))
        x = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = F.silu(self.depthwise_norm(x))
        x = x * self.excite(F.silu(self.squeeze(x.mean((1, 2), keepdim=True)))).sigmoid()
        x = self.leave_norm(self.leave(x))
        return F.silu(x + self.shortcut_norm(self.shortcut(grid)))


def pool(grid: Float[Tensor, "I h w C"], side: int) -> Float[Tensor, "I n n C"]:
    """Adaptive average pool of any grid to `side` x `side`: window i of n spans ⌊i·h/n⌋ to ⌈(i+1)·h/n⌉.

    Two products with 0/1 matrices instead of PyTorch's kernel, because their backward is deterministic on CUDA. Sums
    are made in float32, which autocast would not do.
    """
    images, height, width, channels = grid.shape
    rows, columns = _windows(height, side, grid.device), _windows(width, side, grid.device)
    device_type = "cpu" if grid.is_meta else grid.device.type  # there is no autocast where nothing is computed
    with torch.autocast(device_type, enabled=False):
        sums = torch.matmul(rows, grid.float().flatten(2)).view(images, side, width, channels)
        means = torch.matmul(columns, sums) / (rows.sum(1)[:, None] * columns.sum(1))[..., None]
    return means.to(grid.dtype)


def _windows(size: int, side: int, device: torch.device) -> Float[Tensor, "n size"]:
    """1 where a cell of an axis lies in a window, else 0."""
    cell, window = torch.arange(size, device=device), torch.arange(side, device=device)[:, None]
    inside = (cell >= window * size // side) & (cell < ((window + 1) * size + side - 1) // side)
    return inside.float()


def _side(num_image_tokens: int) -> int:
    side = math.isqrt(num_image_tokens)
    if side * side != num_image_tokens:
        raise UserError(
            f"connector.num_image_tokens is {num_image_tokens}, which is not a square number: choose {side**2} or "
            f"{(side + 1) ** 2}"
        )
    return side
