"""Tables of lengths say what was measured, alone and joined, however long they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data import lengths as lengths_module
from mm1.data.encode import IMAGE_LENGTH
from mm1.data.lengths import Lengths, LengthsWriter, Measured, path_of
from mm1.data.sources import sum_lengths, sum_targets
from tests.full_disk import room_for

segments = st.one_of(st.tuples(st.integers(0, 10**6), st.booleans()), st.just((IMAGE_LENGTH, False)))


@st.composite
def measured(draw: st.DrawFn) -> Measured:
    rows = draw(st.lists(segments, max_size=6))
    side = st.integers(0, 9000)
    sizes = [draw(st.tuples(side, side)) for length, _ in rows if length == IMAGE_LENGTH]
    return Measured([length for length, _ in rows], [target for _, target in rows], sizes)


documents = st.lists(measured(), max_size=8)


def assert_holds(tables: Lengths, rows: list[Measured]) -> None:
    assert len(tables) == len(rows)
    order = np.arange(len(rows))[::-1]
    backwards = [rows[index] for index in order]
    flat = np.array([length for row in backwards for length in row.lengths], np.int64)
    targets = np.array([target for row in backwards for target in row.targets], bool)
    bounds = np.cumsum([0, *(len(row.lengths) for row in backwards)])
    for found, expected in (
        (tables.totals(order), sum_lengths(flat, bounds)),
        (tables.target_tokens(order), sum_targets(flat, targets, bounds)),
    ):
        assert [column.tolist() for column in found] == [column.tolist() for column in expected]
    assert tables.image_sizes(order).tolist() == [list(size) for row in backwards for size in row.sizes]
    for index, row in enumerate(rows):
        assert tables.segment_lengths(index) == row.lengths
        assert tables.segment_targets(index) == row.targets
        assert tables.num_segments(index) == len(row.lengths)


@settings(max_examples=40)
@given(parts=st.lists(st.lists(documents, max_size=3), min_size=1, max_size=3))
def test_tables_hold_what_was_measured_also_when_joined(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[list[Measured]]]
) -> None:
    folder = tmp_path_factory.mktemp("lengths")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lengths_module, "_COPIED_AT_ONCE", 3)
        joined = LengthsWriter(folder)
        for number, pieces in enumerate(parts):
            own = folder / str(number)
            own.mkdir()
            writer = LengthsWriter(own)
            for piece in pieces:
                writer.add(piece)
            tables = Lengths(own, writer.about, "s")
            assert_holds(tables, [row for piece in pieces for row in piece])
            joined.join(tables)
    assert_holds(Lengths(folder, joined.about, "s"), [row for pieces in parts for piece in pieces for row in piece])


def test_a_table_that_was_cut_off_is_named(tmp_path: Path) -> None:
    writer = LengthsWriter(tmp_path)
    writer.add([Measured([5], [True], [])] * 3)
    path = path_of(tmp_path, "documents")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"lengths-documents.bin has 98 bytes where the index says 99: prepare the"):
        Lengths(tmp_path, writer.about, "s")
    path.unlink()
    with pytest.raises(UserError, match=r"lengths-documents.bin is missing"):
        Lengths(tmp_path, writer.about, "s")


def test_a_full_disk_names_the_table(tmp_path: Path) -> None:
    writer = LengthsWriter(tmp_path)
    with room_for(200), pytest.raises(OSError, match="too large") as error:
        writer.add([Measured([5], [True], [])] * 50)
    assert error.value.filename == str(path_of(tmp_path, "documents"))
