"""Signatures of the texts of many parts on disk, and the near-duplicates among them with bounded memory.

    write_keys(folder / "part-00000.arrow", signatures, lengths, config)        # each part, on any worker
    near_duplicates(paths, config, slices=16)                                   # numbers of the texts to drop

A part's file is an Arrow file of one batch, read through memory maps: a column of keys for each band, the length of
each text, and its signature. Texts are numbered through all parts in the order of the paths. One band and one slice of
the values of its keys are in memory at a time; more slices, less memory. Knows nothing of what the texts are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mm1.curation.text.minhash import MinHash, band_keys
from mm1.curation.text.near import agree, candidates, clusters, later_copies
from mm1.files import write_atomically

_OPEN = 256
"""Files open at a time."""


def write_keys(path: Path, signatures: NDArray[np.uint32], lengths: NDArray[np.int64], config: MinHash) -> None:
    """Writes what `near_duplicates` needs of a part's texts: signatures [n, permutations], lengths [n]."""
    assert signatures.shape == (len(lengths), config.permutations), (signatures.shape, len(lengths), config)
    keys = band_keys(signatures, config)
    columns = {f"band_{band}": pa.array(keys[:, band]) for band in range(config.bands)}
    columns["length"] = pa.array(lengths, pa.int64())
    columns["signature"] = pa.FixedSizeListArray.from_arrays(pa.array(signatures.reshape(-1)), config.permutations)
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    write_atomically(path, sink.getvalue().to_pybytes())


class KeyFiles:
    """The files of all parts as one table.

    Attributes:
        count: texts in all of them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        # Each holds a file open, and there may be more parts than files that a process may have open.
        self._open = lru_cache(maxsize=_OPEN)(_open)
        self._firsts = np.cumsum([0, *(self._open(path).num_rows for path in paths)])
        self.count = int(self._firsts[-1])

    def band(self, band: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """The keys of a band part by part, each with the number of its first text."""
        for first, path in zip(self._firsts[:-1].tolist(), self._paths, strict=True):
            yield first, _values(self._open(path), f"band_{band}")

    def signatures(self, documents: NDArray[np.int64]) -> NDArray[np.uint32]:
        """[n] numbers → [n, permutations]."""
        return self._rows("signature", documents)

    def lengths(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] numbers → [n]."""
        return self._rows("length", documents)

    def _rows(self, name: str, documents: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of a column at the numbers of documents, part by part."""
        parts = np.searchsorted(self._firsts, documents, "right") - 1
        found: NDArray[Any] | None = None
        for part in np.unique(parts):
            values = _values(self._open(self._paths[part]), name)
            if found is None:
                found = np.empty((len(documents), *values.shape[1:]), values.dtype)
            there = parts == part
            found[there] = values[documents[there] - self._firsts[part]]
        return np.zeros(0, np.int64) if found is None else found


def near_duplicates(
    paths: Sequence[Path], config: MinHash, skipped: NDArray[np.int64] | None = None, slices: int = 1
) -> NDArray[np.int64]:
    """The numbers, in order, of the texts to drop so that of each cluster of near-duplicates the longest is left.

    Args:
        paths: files of `write_keys`, all with this `config`.
        config: as they were signed.
        skipped: numbers, in order, of texts that were dropped before and count no more.
        slices: each key belongs to one; memory for candidates falls with their number, reading grows.
    """
    files = KeyFiles(paths)
    edges = np.zeros((0, 2), np.int64)
    for band in range(config.bands):
        for part in range(slices):
            found = find_edges(files, config, band, part, slices, skipped)
            documents, labels = clusters(np.concatenate([edges, found]))
            edges = np.stack([documents, labels], axis=1)[documents != labels]  # as few as tell the clusters
    documents, labels = clusters(edges)
    return later_copies(documents, labels, files.lengths(documents))


def find_edges(
    files: KeyFiles, config: MinHash, band: int, part: int, slices: int, skipped: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """[E, 2] near-duplicates that share a key in `band`, among the keys of one of `slices` parts."""
    keys, documents = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for first, column in files.band(band):
        rows = np.flatnonzero(column % np.uint64(slices) == part)
        if skipped is not None and len(skipped):
            place = np.minimum(np.searchsorted(skipped, rows + first), len(skipped) - 1)
            rows = rows[skipped[place] != rows + first]
        keys.append(column[rows])
        documents.append(rows + first)
    edges = candidates(np.concatenate(keys), np.concatenate(documents))
    return edges[agree(edges, files.signatures, config.threshold)]


def _open(path: Path) -> pa.RecordBatch:
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


def _values(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    column = batch.column(name)
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten().to_numpy()).reshape(-1, column.type.list_size)
    return np.asarray(column.to_numpy())
