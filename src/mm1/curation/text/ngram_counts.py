"""How often each run of n words occurs in sentences, with memory that goes with the distinct runs, not the sentences.

    counter = NgramCounter(order=5, vocab_size=16_000)
    for ids in sentences:
        counter.add(ids)
    windows, counts = counter.finish()          # [U, 5] distinct windows, [U] how often each was seen

Every word, and the end of every sentence, is seen once as the last of a window of `order` words. A window that begins
before its sentence is filled from the left with `bos`: (bos, bos, bos, 7, 9) stands for the run of three (bos, 7, 9).
So these windows tell the counts of runs of every length up to `order` (Heafield et al. 2013, section 3.1). Knows
nothing of probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 20
"""Words of which windows are made at once."""


class NgramCounter:
    """Counts windows of `order` words.

    Attributes:
        order: words in a window.
        bos: stands for the beginning of a sentence; one more than the largest word.
        eos: stands for its end.
    """

    def __init__(self, order: int, vocab_size: int) -> None:
        self.order = order
        self.bos, self.eos = vocab_size, vocab_size + 1
        self._bits = (self.eos + 1).bit_length()
        self._pending: list[int] = []
        self._windows = np.zeros((0, order), np.uint32)
        self._counts = np.zeros(0, np.int64)
        self._fresh: list[NDArray[np.uint32]] = []

    def add(self, words: Sequence[int]) -> None:
        """Counts a sentence of words below `vocab_size`."""
        self._pending += [*[self.bos] * (self.order - 1), *words, self.eos]
        if len(self._pending) >= _CHUNK:
            self._take()

    def finish(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """[U, order] distinct windows in order, [U] counts."""
        self._take()
        self._merge()
        return self._windows, self._counts

    def _take(self) -> None:
        stream = np.array(self._pending, np.uint32)
        self._pending = []
        if len(stream):
            windows = np.lib.stride_tricks.sliding_window_view(stream, self.order)
            self._fresh.append(windows[stream[self.order - 1 :] != self.bos])
        # The table is sorted again only when as much has come as it holds, so that each window is sorted a few times.
        if sum(map(len, self._fresh)) >= max(_CHUNK, len(self._windows)):
            self._merge()

    def _merge(self) -> None:
        windows = np.concatenate([self._windows, *self._fresh])
        counts = np.concatenate([self._counts, np.ones(sum(map(len, self._fresh)), np.int64)])
        self._fresh = []
        order = np.lexsort(self._keys(windows))
        windows = windows[order]
        fresh = np.ones(len(windows), bool)
        fresh[1:] = np.any(windows[1:] != windows[:-1], axis=1)
        starts = np.flatnonzero(fresh)
        self._windows = windows[starts]
        self._counts = np.add.reduceat(counts[order], starts) if len(starts) else counts

    def _keys(self, windows: NDArray[np.uint32]) -> list[NDArray[np.uint64]]:
        """The words of each window packed into few integers, the least significant first, as lexsort wants them."""
        each = 64 // self._bits
        keys = []
        for end in range(self.order, 0, -each):
            key = np.zeros(len(windows), np.uint64)
            for column in range(max(0, end - each), end):
                key = (key << np.uint64(self._bits)) | windows[:, column].astype(np.uint64)
            keys.append(key)
        return keys
