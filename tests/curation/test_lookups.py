"""Tables on disk answer as a dict does."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.lookups import Lookup, LookupWriter, key_of

NUMBERS = st.integers(0, 2**64 - 1)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NUMBERS, NUMBERS), st.lists(NUMBERS, max_size=20), st.integers(1, 5))
def test_a_table_answers_as_a_dict_does(table: dict[int, int], asked: list[int], piece: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        keys = np.array(sorted(table), np.uint64)
        values = np.array([table[key] for key in sorted(table)], np.uint64)
        with LookupWriter(Path(folder) / "t") as writer:
            for start in range(0, len(keys), piece):
                writer.add(keys[start : start + piece], values[start : start + piece])
        lookup = Lookup(Path(folder) / "t")
        assert len(lookup) == len(table)
        asked = [*asked, *table]
        assert [lookup.get(key) for key in asked] == [table.get(key) for key in asked]
        found, there = lookup.find(np.array(asked, np.uint64))
        assert there.tolist() == [key in table for key in asked]
        assert found.tolist() == [table.get(key, 0) for key in asked]


def test_keys_that_do_not_rise_are_a_mistake_of_ours(tmp_path: Path) -> None:
    one, two = np.array([5, 9], np.uint64), np.array([9], np.uint64)
    with LookupWriter(tmp_path / "t") as writer:
        writer.add(one, one)
        with pytest.raises(AssertionError):
            writer.add(two, two)


def test_keys_of_texts_are_spread_and_stay_what_they_are() -> None:
    keys = [key_of(f"https://a.example/{number}.png") for number in range(4096)]
    assert len(set(keys)) == 4096
    assert key_of("https://a.example/\ud800.png") != key_of("https://a.example/.png")
    assert abs(sum(key >> 63 for key in keys) - 2048) < 200
    assert key_of("") == 0xE4A6A0577479B2B4
