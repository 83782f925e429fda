"""Models of equal size: the width that brings one model's number of parameters nearest to another's.

    nearest_width(lambda width: count_parameters(lambda: build(width)), target=1_444_640)

Knows nothing of which models.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

MULTIPLE = 8
"""Widths are multiples of it: matrix products are slow with others."""


def count_parameters(build: Callable[[], nn.Module]) -> int:
    """Parameters of what `build` makes, shared ones once; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def nearest_width(count: Callable[[int], int], target: int) -> int:
    """The multiple of 8 whose `count`, linear in the width, is nearest to `target`."""
    first, second = count(MULTIPLE), count(2 * MULTIPLE)
    return MULTIPLE * max(1, 1 + round((target - first) / (second - first)))
