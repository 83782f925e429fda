"""What keys have in common over all parts: how often each occurs, where first, and what stands beside it.

    with RunWriter(folder, "refs", KEYS) as runs:            # in a part: files refs-00000.parquet, … sorted by key
        runs.add({"key": 7, "order": 12, "weight": 1})
    for table in group_keys(files, runner, at_least=11): …   # key, total, first, last, rows

Keys are hashes, spread evenly over 64 bits, and files are sorted by them. So a query over one range of keys reads only
its share of each file (parquet keeps the least and greatest key of each row group), and a range is as small as the
memory that there is for it asks. Knows nothing of what the keys are of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mm1.curation.buffered import Buffered
from mm1.curation.lookups import LookupWriter
from mm1.curation.memory import give_back
from mm1.curation.runner import Runner, start

KEYS = pa.schema([("key", pa.uint64()), ("order", pa.uint64()), ("weight", pa.uint32())])
"""Of every file: a hash, where it is (the smallest counts as the first), and how often it counts."""
_RUN_BYTES = 32 << 20
_GROUP_ROWS = 8192
_OVERHEAD = 160
"""Bytes that daft takes for a row while it groups, besides the row itself; measured with narrow rows, rounded up."""
_EMPTY_RANGES = 4
"""Keys are not quite even, and a query's own buffers count as well."""


class RunWriter(Buffered):
    """Writes rows as files sorted by key, each of what was in memory together; a context manager.

    Args:
        folder: of the files.
        name: files are NAME-00000.parquet, …
        schema: `KEYS` and whatever columns beside.
    """

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        super().__init__(_RUN_BYTES)
        self._folder, self._name, self._schema = folder, name, schema
        self._files = 0

    def add(self, row: dict[str, Any], size: int = 0) -> None:
        """A row, with `size` bytes of text in it."""
        self.add_row(row, size + _OVERHEAD)

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        rows.sort(key=lambda row: (row["key"], row["order"]))
        write_sorted(self._folder / f"{self._name}-{self._files:05d}.parquet", rows, self._schema)
        self._files += 1


def run_files(folders: Iterable[Path], name: str) -> list[Path]:
    """The files that `RunWriter`s of one name wrote in the folders."""
    return [path for folder in folders for path in sorted(folder.glob(f"{name}-*.parquet"))]


def write_sorted(path: Path, rows: Sequence[Mapping[str, Any]] | pa.Table, schema: pa.Schema) -> None:
    """Writes rows that are sorted, in row groups small enough to be read apart."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema)
    pq.write_table(table.cast(schema), path, row_group_size=_GROUP_ROWS, compression="zstd")


def group_keys(
    files: Sequence[Path], runner: Runner, at_least: int = 1, beside: Sequence[str] = (), sums: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """The keys of all files whose weights add up to `at_least`, each once, in order, a range of keys at a time.

    Yields tables with `key`, `total` (of the weights), `first` and `last` (the smallest and the greatest order), `rows`
    (how many there are), the columns `beside`, which must be the same wherever the key is, and the sums of the columns
    `sums`.
    """
    ranges = num_ranges(files, runner.memory)
    if ranges == 0:
        return
    daft = start(runner)
    col, lit, uint64 = daft.col, daft.lit, daft.DataType.uint64()
    paths = [str(path) for path in files]
    for number in range(ranges):
        low, high = (number << 64) // ranges, ((number + 1) << 64) // ranges - 1
        frame = daft.read_parquet(paths)
        frame = frame.where((col("key") >= lit(low).cast(uint64)) & (col("key") <= lit(high).cast(uint64)))
        frame = frame.groupby("key").agg(
            col("weight").cast(uint64).sum().alias("total"),
            col("order").min().alias("first"),
            col("order").max().alias("last"),
            col("order").count().alias("rows"),
            *(col(name).any_value().alias(name) for name in beside),
            *(col(name).cast(uint64).sum().alias(name) for name in sums),
        )
        table = frame.where(col("total") >= at_least).to_arrow()
        yield table.sort_by("key").combine_chunks()
        del table
        give_back()


def write_lookup(folder: Path, files: Sequence[Path], runner: Runner, value: str, at_least: int = 1) -> None:
    """Fills the folder with a lookup of the keys that `group_keys` gives, each with its `value`: `total`, `last`, …"""
    with LookupWriter(folder) as table:
        for found in group_keys(files, runner, at_least):
            table.add(found["key"].to_numpy(), found[value].to_numpy())


def num_ranges(files: Sequence[Path], memory: int) -> int:
    """In how many ranges of keys the rows of the files are grouped, so that each takes at most `memory` bytes."""
    size = 0
    for path in files:
        metadata = pq.read_metadata(path)
        groups = range(metadata.num_row_groups)
        size += sum(metadata.row_group(group).total_byte_size for group in groups) + metadata.num_rows * _OVERHEAD
    return math.ceil(size * _EMPTY_RANGES / memory) if size else 0


def read_range(files: Sequence[Path], column: str, low: int, high: int) -> pa.Table:
    """The rows of files sorted by `column` in which it is from `low` to `high`, both included."""
    bounds = [(column, ">=", np.uint64(low)), (column, "<=", np.uint64(high))]
    return pa.concat_tables([pq.read_table(path, filters=bounds, partitioning=None) for path in files])
