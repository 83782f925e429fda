"""Extracted pages come back from the disk as they were."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation import extracted
from mm1.curation.extracted import ExtractedWriter, Row, read_extracted
from mm1.curation.page import Extracted, ImageRef, Paragraph

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIZE = st.none() | st.integers(0, 2**63 - 1)
BLOCK = st.builds(Paragraph, TEXT, st.sampled_from(["heading", "paragraph", "list", "table", "code", "quote"])) | (
    st.builds(ImageRef, TEXT, TEXT, TEXT, SIZE, SIZE)
)
PAGE = st.builds(Extracted, TEXT, TEXT, st.lists(BLOCK, max_size=5).map(tuple))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, PAGE), max_size=8), st.lists(st.booleans(), min_size=8, max_size=8), st.data())
def test_pages_come_back_as_they_were(
    pages: list[tuple[str, str, Extracted]], asked: list[bool], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(extracted, "ROW_GROUP_BYTES", data.draw(st.sampled_from([1, 400, 4 << 20])))
        path = Path(folder) / "pages.parquet"
        with ExtractedWriter(path) as writer:
            for page in pages:
                writer.add(*page)
        rows = [Row(number, *page) for number, page in enumerate(pages)]
        assert list(read_extracted(path)) == rows
        wanted = [row for row, is_asked in zip(rows, asked, strict=False) if is_asked]
        assert list(read_extracted(path, np.array(asked[: len(rows)], bool))) == wanted
        bare = [replace(row, page=replace(row.page, blocks=row.page.images)) for row in wanted]
        assert list(read_extracted(path, np.array(asked[: len(rows)], bool), only_images=True)) == bare


def test_rows_are_written_in_groups_and_numbered_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracted, "ROW_GROUP_BYTES", 1000)
    with ExtractedWriter(tmp_path / "p") as writer:
        for number in range(50):
            writer.add(f"page {number}", "", Extracted("", "", (Paragraph("x" * 100),)))
    assert pq.ParquetFile(tmp_path / "p").num_row_groups > 4
    assert [(row.number, row.id) for row in read_extracted(tmp_path / "p")] == [(n, f"page {n}") for n in range(50)]


def test_a_size_that_no_integer_holds_is_no_reason_to_stop(tmp_path: Path) -> None:
    with ExtractedWriter(tmp_path / "p") as writer:
        writer.add("a", "", Extracted("", "", (ImageRef("u", width=10**30, height=None),)))
    assert next(read_extracted(tmp_path / "p")).page.images[0].width == 2**63 - 1
