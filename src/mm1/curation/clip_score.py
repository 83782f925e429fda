"""Caption pairs by how well text and image agree: the cosine of their embeddings by a CLIP, and which pairs it keeps.

    scores = scorer.score([(image_bytes, "a cat on a chair"), …])       # [0.31, …], NaN where an image can not be read
    lowest = lowest_kept(scores_of_all_parts, keep=0.15)                # pairs at or above it are kept

LAION kept pairs above a fixed score; DFN (Fang et al. 2023, arXiv 2309.17425) the top fraction of the whole set by a
CLIP trained for filtering, 15 % of it for DFN-2B. Knows nothing of models: clip_models.py opens them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from mm1.config import Config, UserError

CONFIG = "config.json"
ENCODER = "encoder"
_IDENTITY = (".json", ".safetensors", ".txt")
"""Ends of the files that a score may depend on."""
_NOT = ("step.json", "stage.json", "plan.json")
"""What a stage tells of its training."""


class ClipConfig(Config):
    """Which pairs are kept; without a model, all."""

    model: Path | None = None
    """A run, its stage `encoder`, or a folder that transformers' CLIPModel was saved to."""
    keep: float | None = Field(default=None, gt=0, le=1)
    """The share of the whole set, of the highest scores; equal scores stay together."""
    threshold: float | None = Field(default=None, ge=-1, le=1)
    """The lowest score that is kept."""
    batch: PositiveInt = 64
    """Pairs that go through the model at once."""

    @model_validator(mode="after")
    def _check(self) -> ClipConfig:
        if self.model is None and (self.keep is not None or self.threshold is not None):
            raise ValueError("clip.keep and clip.threshold need a model: set clip.model")
        if self.model is not None and (self.keep is None) == (self.threshold is None):
            raise ValueError("clip.model needs one of clip.keep and clip.threshold: set the one that is wanted")
        return self


class Scorer(Protocol):
    """A CLIP."""

    def score(self, pairs: Sequence[tuple[bytes, str]]) -> NDArray[np.float32]:
        """[N] cosines of each pair's embeddings, NaN where the image can not be decoded."""
        ...


def lowest_kept(parts: Callable[[], Iterable[NDArray[np.float32]]], keep: float) -> float:
    """The score of the last pair that is kept when the top share `keep` of all is, rounded up; NaNs do not count.

    Exact, in memory for the largest part and 2^16 counts: the first pass over the parts finds the upper half of the
    score's bits, the second the lower.

    Args:
        parts: gives the scores of all parts, each time that it is called.
        keep: in (0, 1].

    Returns:
        infinity where there is no score at all.
    """
    upper = np.zeros(1 << 16, np.int64)
    for scores in parts():
        upper += np.bincount(_ordered(scores) >> 16, minlength=1 << 16)
    wanted = math.ceil(keep * int(upper.sum()))
    if not wanted:
        return math.inf
    place, above = _nth(upper, wanted)
    lower = np.zeros(1 << 16, np.int64)
    for scores in parts():
        ordered = _ordered(scores)
        lower += np.bincount(ordered[ordered >> 16 == place] & 0xFFFF, minlength=1 << 16)
    last, _ = _nth(lower, wanted - above)
    return float(_scores(np.array([place << 16 | last], np.uint32))[0])


def _nth(counts: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """The place of the `wanted`th of all counted things from the top, and how many lie in higher places."""
    from_top = np.cumsum(counts[::-1])
    index = int(np.searchsorted(from_top, wanted))
    return len(counts) - 1 - index, int(from_top[index] - counts[::-1][index])


def _ordered(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers in the order of the scores that are numbers: of IEEE 754, all bits turned where negative."""
    bits = scores[~np.isnan(scores)].astype(np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _scores(ordered: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The inverse of `_ordered`."""
    return np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered).astype(np.uint32).view(np.float32)


def folder_of(path: Path) -> Path:
    """The folder of the CLIP at `path`: of a run, that of its encoder.

    Raises:
        UserError: there is none.
    """
    folder = path / ENCODER if (path / ENCODER / CONFIG).is_file() else path
    if not (folder / CONFIG).is_file():
        raise UserError(f"clip.model is {path}, which has no {CONFIG}: give a run with a stage `encoder`, or a CLIP")
    return folder.resolve()


def digest_of(path: Path) -> str:
    """A hash of the CLIP, so that another one's scores are never taken for its own."""
    folder = folder_of(path)
    files = sorted(file for file in folder.iterdir() if file.suffix in _IDENTITY and file.name not in _NOT)
    content = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content.update(file.name.encode() + b"\0" + hashlib.file_digest(opened, "sha256").digest())
    return content.hexdigest()
