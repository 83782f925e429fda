"""Documents of MM1's kinds whose lengths are formulas: for measurements that look at lengths alone, of any number.

    plan = build_plan(simulated_data(rows=512), simulated_sources(10**9), NUM_IMAGE_TOKENS)

Captions of one image, pages of up to eight, texts of none; lengths of texts are log-normal. They are made up: like real
ones in kind, measured on none.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from mm1.data.encode import IMAGE_LENGTH
from mm1.data.order import key_of, uniform
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig
from mm1.data.sources import Source
from mm1.types import Document

NUM_IMAGE_TOKENS = 144
QUANTILES = 1 << 14
"""Of a source's distribution of lengths: what its documents draw from."""


class SimulatedSource:
    """`count` documents whose lengths are a function of their number: nothing is stored, whatever `count` is.

    Args:
        name: of the source; lengths hang on it.
        count: documents.
        median_tokens, spread: of the text of a document, log-normal.
        images: the least and the most images of a document, drawn evenly.
    """

    def __init__(self, name: str, count: int, median_tokens: float, spread: float, images: tuple[int, int]) -> None:
        self.name = name
        self._count = count
        normal = NormalDist(math.log(median_tokens), spread)
        quantiles = [math.ceil(math.exp(normal.inv_cdf((k + 0.5) / QUANTILES))) for k in range(QUANTILES)]
        self._tokens = np.array(quantiles, np.int64)
        self._images = images

    def __len__(self) -> int:
        return self._count

    def document(self, index: int) -> Document:
        raise AssertionError("a plan looks at lengths only")

    def totals(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen, images = (uniform(indices, key_of(self.name, part)) for part in ("tokens", "images"))
        least, most = self._images
        text = self._tokens[(chosen * QUANTILES).astype(np.int64)]
        return text, least + (images * (most + 1 - least)).astype(np.int64)

    def segment_lengths(self, index: int) -> list[int]:
        """Images, each before an equal part of the text."""
        text, images = (int(values[0]) for values in self.totals(np.array([index])))
        each, longer = divmod(text, max(1, images))
        parts = [each + (place < longer) for place in range(max(1, images))]
        return [length for part in parts for length in ((IMAGE_LENGTH, part) if images else (part,))]

    def segment_targets(self, index: int) -> list[bool]:
        return [length >= 0 for length in self.segment_lengths(index)]

    def target_tokens(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        text, images = self.totals(indices)
        return text, images == 0

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        raise AssertionError("whole pictures have one size")


def simulated_sources(documents: int) -> dict[str, Source]:
    """MM1's kinds of data, 45, 45 and 10 % of the documents."""
    tenth = documents // 20
    return {
        "captions": SimulatedSource("captions", 9 * tenth, 25, 0.6, (1, 1)),
        "pages": SimulatedSource("pages", 9 * tenth, 500, 0.9, (0, 8)),
        "text": SimulatedSource("text", documents - 18 * tenth, 600, 1.0, (0, 0)),
    }


def simulated_data(rows: int) -> DataConfig:
    """MM1's sequences: 4,096 positions, 16 images."""
    weights = {"pages": 0.45, "captions": 0.45, "text": 0.1}
    groups = tuple(GroupConfig(name=name, weight=w, sources=(SourceConfig(name=name),)) for name, w in weights.items())
    return DataConfig(mixture=MixtureConfig(groups=groups), seq_len=4096, rows=rows, max_images=16, image_size=378)
