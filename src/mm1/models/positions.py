"""Positions of patches on a grid: the fixed sines and cosines, and how a table for one grid serves another.

    table (16, 16, D), trained at 224 pixels → resize_table(table, 48, 48) → (48, 48, D) for 672 pixels

Knows nothing of who uses the table: image encoders and the C-Abstractor do. Shape letters: D dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TEMPERATURE = 10_000.0
"""Of the sines and cosines: the longest wave is so many times the shortest (MAE, AIM, AIMv2)."""


def resize_table(table: Float[Tensor, "h w D"], height: int, width: int) -> Float[Tensor, "height width D"]:
    """The table for a grid of `height` x `width`, by bicubic interpolation; the same tensor where the grid is the same.

    As Hugging Face's `interpolate_pos_encoding` of CLIP and DINOv2: corners not aligned, no antialiasing. Computed in
    float32 as two matrix products, one for each axis, whose backward, unlike that of PyTorch's kernel, is deterministic
    on CUDA.
    """
    if table.shape[:2] == (height, width):
        return table
    device_type = "cpu" if table.is_meta else table.device.type  # there is no autocast where nothing is computed
    with torch.autocast(device_type, enabled=False):
        rows = torch.tensordot(_bicubic(table.shape[0], height, table.device), table.float(), dims=1)
        resized = torch.matmul(_bicubic(table.shape[1], width, table.device), rows)
    return resized.to(table.dtype)


def sincos_table(height: int, width: int, dim: int, device: torch.device) -> Float[Tensor, "height width dim"]:
    """Fixed positions of MAE and AIM, float32: the sines and cosines of the column, then those of the row.

    Computed in float64, as Hugging Face's AIMv2 does. `dim` is a multiple of 4.
    """
    frequencies = TEMPERATURE ** -(torch.arange(dim // 4, dtype=torch.float64, device=device) / (dim // 4))

    def waves(length: int) -> Tensor:
        angles = torch.arange(length, dtype=torch.float64, device=device)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1).float()

    columns = waves(width)[None].expand(height, -1, -1)
    rows = waves(height)[:, None].expand(-1, width, -1)
    return torch.cat([columns, rows], dim=2)


def _bicubic(size: int, new_size: int, device: torch.device) -> Float[Tensor, "new size"]:
    """The matrix of bicubic interpolation along one axis: what the kernel makes of the unit vectors."""
    unit_vectors = torch.eye(size, device=device)[None, :, :, None]
    return F.interpolate(unit_vectors, size=(new_size, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T
