"""Of the pairs of a set, those that show the image of a better pair.

    keys/PART/keys-….parquet          keys of each pair: its MD5, and those of its hash (bands.py)
    shared/                           lookups.py: keys that several pairs have
    meetings/PART/pairs-….parquet     the pairs under each such key
    buckets/RANGE/dropped.npy         orders of the pairs that repeated_images.py drops, a range of keys each
    repeated/                         lookups.py: order of a pair that is dropped → 1

Knows nothing of pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mm1.curation.bands import BITS, bands
from mm1.curation.engine import Values, map_parts, read_counts
from mm1.curation.groups import KEYS, RunWriter, num_ranges, read_range, run_files, write_lookup
from mm1.curation.lookups import Lookup, LookupWriter, md5_key
from mm1.curation.repeated_images import Candidate, repeated
from mm1.curation.runner import Runner
from mm1.curation.steps.inputs import PartInputs
from mm1.data.perceptual import Look

PAIRS, REPEATED, DROPPED = "pairs.parquet", "repeated", "dropped.npy"
CANDIDATE = pa.schema(
    [
        ("order", pa.uint64()),
        ("id", pa.string()),
        ("text", pa.string()),
        ("pixels", pa.uint64()),
        ("md5", pa.binary(16)),
        ("hash", pa.uint64()),
        ("colours", pa.binary(192)),
    ]
)
"""What is asked of a pair."""
_MEETING = pa.schema([("key", pa.uint64()), ("weight", pa.uint32()), *CANDIDATE])
_STRANGERS = 64
"""Pairs that share a key by chance, about, at most."""
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class _Range:
    """Keys that are looked at together."""

    name: str
    low: int
    high: int


def find_repeated(folder: Path, parts: Sequence[PartInputs], pairs: Path, max_distance: int, runner: Runner) -> None:
    """Fills the folder; the pairs of a part are in `pairs`/PART/pairs.parquet."""
    folder.mkdir(exist_ok=True)
    count = sum(read_counts(pairs / part.name)["out"] for part in parts)
    keys_of = partial(_keys, distance=max_distance, spare=spare_for(count, max_distance))
    map_parts(partial(write_keys, pairs=pairs, keys_of=keys_of), parts, folder / "keys", runner)
    files = run_files((folder / "keys" / part.name for part in parts), "keys")
    write_lookup(folder / "shared", files, runner, "total", at_least=2)
    meet = partial(write_meetings, pairs=pairs, keys_of=keys_of, shared=folder / "shared")
    map_parts(meet, parts, folder / "meetings", runner)
    files = run_files((folder / "meetings" / part.name for part in parts), "pairs")
    ranges = _ranges(files, runner)
    map_parts(partial(judge_range, files=files, max_distance=max_distance), ranges, folder / "buckets", runner)
    found = [np.load(folder / "buckets" / one.name / DROPPED) for one in ranges]
    orders = np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))
    with LookupWriter(folder / REPEATED) as dropped:
        dropped.add(orders, np.ones_like(orders))


def spare_for(count: int, distance: int) -> int:
    """How many blocks make a key (bands.py), so that few of `count` pairs share one by chance."""
    spare = 2
    while spare < 5 and count >> (BITS * spare // (distance + spare)) > _STRANGERS:
        spare += 1
    return spare


def _keys(batch: pa.RecordBatch, distance: int, spare: int) -> NDArray[np.uint64]:
    """[N, K] keys of the pairs of a batch."""
    digests = np.array([md5_key(md5) for md5 in batch["md5"].to_pylist()], np.uint64)
    return np.concatenate([digests[:, None], bands(batch["hash"].to_numpy(), distance, spare)], axis=1)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(_ROWS_AT_ONCE, columns=CANDIDATE.names, use_threads=False)


def write_keys(part: PartInputs, folder: Path, pairs: Path, keys_of: Any) -> Values:
    """The keys of a part's pairs."""
    with RunWriter(folder, "keys", KEYS) as runs:
        for batch in _batches(pairs / part.name / PAIRS):
            for order, keys in zip(batch["order"].to_pylist(), keys_of(batch).tolist(), strict=True):
                for key in set(keys):
                    runs.add({"key": key, "order": order, "weight": 1})
    return {}


def write_meetings(part: PartInputs, folder: Path, pairs: Path, keys_of: Any, shared: Path) -> Values:
    """The pairs of a part that have a key which another has."""
    table = Lookup(shared)
    with RunWriter(folder, "pairs", _MEETING) as runs:
        for batch in _batches(pairs / part.name / PAIRS):
            keys = keys_of(batch)
            _, there = table.find(keys.reshape(-1))
            there = there.reshape(keys.shape)
            for place in np.flatnonzero(there.any(axis=1)).tolist():
                row = {name: batch[name][place].as_py() for name in CANDIDATE.names}
                for key in set(keys[place][there[place]].tolist()):
                    runs.add({"key": key, "weight": 1, **row}, 300 + len(row["text"]))
    return {}


def judge_range(one: _Range, folder: Path, files: Sequence[Path], max_distance: int) -> Values:
    """Which pairs are dropped by the buckets of a range of keys."""
    dropped: list[int] = []
    table = read_range(files, "key", one.low, one.high).sort_by([("key", "ascending"), ("order", "ascending")])
    keys = table["key"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]).tolist()
    for start, stop in zip(starts, [*starts[1:], len(keys)], strict=True):
        rows = table.slice(start, stop - start).to_pylist()
        orders = {row["id"]: row["order"] for row in rows}
        bucket = [
            Candidate(row["id"], row["text"], row["pixels"], row["md5"], Look(row["hash"], row["colours"]))
            for row in rows
        ]
        dropped += [orders[name] for name in repeated(bucket, max_distance)]
    np.save(folder / DROPPED, np.unique(np.array(dropped, np.uint64)))
    return {"out": len(dropped)}


def _ranges(files: Sequence[Path], runner: Runner) -> list[_Range]:
    """Ranges of keys, each small enough for its process."""
    count = num_ranges(files, runner.memory // runner.processes)
    edges = [(number << 64) // max(count, 1) for number in range(count + 1)]
    return [_Range(f"range-{n:05d}-of-{count}", edges[n], edges[n + 1] - 1) for n in range(count)]
