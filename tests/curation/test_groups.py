"""Global counts are what a dict over all rows gives, whatever memory there is and however rows are cut into files."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mm1.curation import groups
from mm1.curation.groups import KEYS, RunWriter, group_keys, num_ranges, read_range
from mm1.curation.runner import Runner

SCHEMA = KEYS.append(pa.field("name", pa.string()))
EDGES = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.fixture
def rows() -> list[dict[str, int | str]]:
    random = np.random.default_rng(3)
    keys = [*random.integers(0, 2**64, 300, np.uint64, endpoint=False).tolist(), *EDGES]
    return [
        {"key": key, "order": int(random.integers(0, 2**40)), "weight": int(random.integers(1, 5)), "name": f"n{key}"}
        for key in keys
        for _ in range(random.integers(1, 6))
    ]


@pytest.fixture
def paths(rows: list[dict[str, int | str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(groups, "_RUN_BYTES", 20_000)
    for part in range(3):
        (tmp_path / str(part)).mkdir()
        with RunWriter(tmp_path / str(part), "keys", SCHEMA) as runs:
            for row in rows[part::3]:
                runs.add(row, 8)
    found = sorted(tmp_path.rglob("keys-*.parquet"))
    assert len(found) > 6
    return found


@pytest.mark.parametrize("memory", [1 << 40, 100_000])
@pytest.mark.parametrize("at_least", [1, 9])
def test_groups_are_those_of_all_rows_together(
    rows: list[dict[str, int | str]], paths: list[Path], memory: int, at_least: int
) -> None:
    expected: dict[int, list[dict[str, int | str]]] = defaultdict(list)
    for row in rows:
        expected[row["key"]].append(row)
    tables = list(group_keys(paths, Runner(memory=memory), at_least, beside=("name",)))
    assert len(tables) == num_ranges(paths, memory)
    assert (len(tables) > 1) == (memory < 1 << 40)
    found = [row for table in tables for row in table.to_pylist()]
    assert [row["key"] for row in found] == sorted(row["key"] for row in found)
    assert found == [
        {
            "key": key,
            "total": sum(row["weight"] for row in own),
            "first": min(row["order"] for row in own),
            "last": max(row["order"] for row in own),
            "rows": len(own),
            "name": f"n{key}",
        }
        for key, own in sorted(expected.items())
        if sum(row["weight"] for row in own) >= at_least
    ]


def test_no_rows_have_no_groups(tmp_path: Path) -> None:
    assert list(group_keys([], Runner())) == []


def test_a_range_has_the_rows_between_its_ends(rows: list[dict[str, int | str]], paths: list[Path]) -> None:
    keys = sorted(row["key"] for row in rows)
    low, high = keys[len(keys) // 3], keys[len(keys) // 2]
    found = read_range(paths, "key", low, high)
    assert sorted(found["key"].to_pylist()) == [key for key in keys if low <= key <= high]
    assert read_range(paths, "key", 2**64 - 1, 2**64 - 1)["name"].to_pylist().count(f"n{2**64 - 1}") > 0
