"""Sorted tables of 64-bit numbers on disk, looked up through a memory map: key → value.

    with LookupWriter(folder / "counts") as writer:
        writer.add(keys, values)                   # pieces, in rising order of keys
    values, there = Lookup(folder / "counts").find(keys)

    folder/counts/keys, values     unsigned 64-bit numbers, little end first, one after the other

Writing takes the memory of a piece, reading that of the answers: the table stays with the operating system's pages.
Knows nothing of what keys and values mean.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

_TYPE = np.dtype("<u8")


def key_of(text: str) -> int:
    """A key for a text: the first 64 bits of its BLAKE2b, so that keys are spread evenly.

    Of ten billion texts, about three pairs share one: the second of such a pair is taken for the first.
    """
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def md5_key(md5: bytes) -> int:
    """An MD5 as a key."""
    return int.from_bytes(md5[:8], "big")


class LookupWriter:
    """Writes a table; a context manager. The folder is complete when it is left."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._keys = (folder / "keys").open("wb")
        self._values = (folder / "values").open("wb")
        self._last = -1

    def add(self, keys: NDArray[np.uint64], values: NDArray[np.uint64]) -> None:
        """Appends [N] keys, rising and above all before, and their [N] values."""
        assert len(keys) == len(values)
        if len(keys) == 0:
            return
        assert int(keys[0]) > self._last
        assert bool(np.all(keys[1:] > keys[:-1]))
        self._last = int(keys[-1])
        keys.astype(_TYPE).tofile(self._keys)
        values.astype(_TYPE).tofile(self._values)

    def __enter__(self) -> LookupWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._keys, self._values):
            file.flush()
            os.fsync(file.fileno())
            file.close()


class Lookup:
    """A table that was written, read through a memory map."""

    def __init__(self, folder: Path) -> None:
        self._keys, self._values = _mapped(folder / "keys"), _mapped(folder / "values")
        assert len(self._keys) == len(self._values)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: int) -> int | None:
        """The value of a key, or None."""
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        if place == len(self._keys) or int(self._keys[place]) != key:
            return None
        return int(self._values[place])

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """[N] keys → their [N] values, 0 where a key is not there, and [N] whether it is."""
        if len(self._keys) == 0:
            return np.zeros(len(keys), np.uint64), np.zeros(len(keys), bool)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        there = np.asarray(self._keys[places] == keys)
        return np.where(there, self._values[places], np.uint64(0)), there

    def items(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """All keys, rising, and their values; not in memory until they are looked at."""
        return self._keys, self._values


def _mapped(path: Path) -> NDArray[np.uint64]:
    if path.stat().st_size == 0:  # which can not be mapped
        return np.zeros(0, np.uint64)
    return np.memmap(path, _TYPE, "r")
