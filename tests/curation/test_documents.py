"""The sets that curation writes: whole files, the same bytes for the same documents, read by mm1 and by others."""

import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mm1.curation import documents
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.page import Dropped
from mm1.data.formats.catalog import FORMATS, recognise
from mm1.data.formats.reading import ReadOptions
from mm1.types import Document, Image, Text
from tests.full_disk import room_for

DOCUMENTS = [
    ("site/a", "https://a.example/", ["Once", PictureSegment(b"\x89PNG\0\xff", "local:a.png", "a cat"), "upon"]),
    ("site/b", "", [PictureSegment(b"x" * 3000)]),
    ("site/c", "https://c.example/ü", ["naïve\n\n☃"]),
]


def write(path, rows=DOCUMENTS, **settings):
    with DocumentWriter(path, **settings) as writer:
        for row in rows:
            writer.write(*row)
    return path


def read(path):
    assert recognise(path).format == "documents-parquet"
    return list(FORMATS["documents-parquet"].read(path, ReadOptions()))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
pictures = st.builds(PictureSegment, st.binary(min_size=1), st.text(st.characters(exclude_categories=["Cs"])))


@settings(deadline=None, max_examples=40)
@given(bodies=st.lists(st.lists(texts | pictures, min_size=1), max_size=6), limit=st.integers(1, 300))
def test_what_is_written_is_what_prepare_reads(tmp_path_factory, bodies, limit):
    rows = [(f"a/{number}", "https://a.example", body) for number, body in enumerate(bodies)]
    path = write(tmp_path_factory.mktemp("set") / "a.parquet", rows, row_group_bytes=limit)
    expected = [
        Document(name, tuple(Text(part) if isinstance(part, str) else Image(part.data) for part in body))
        for name, _, body in rows
    ]
    assert read(path) == expected


def test_row_groups_are_bounded_by_bytes(tmp_path):
    path = write(tmp_path / "a.parquet", [(str(n), "", ["x" * 1000]) for n in range(100)], row_group_bytes=10_000)
    groups = parquet.ParquetFile(path).metadata
    assert {groups.row_group(group).num_rows for group in range(groups.num_row_groups)} == {10}


def test_the_same_documents_are_the_same_bytes_at_any_time_and_place(tmp_path):
    (tmp_path / "other").mkdir()
    one, other = write(tmp_path / "a.parquet"), write(tmp_path / "other" / "b.parquet")
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def fails_after_one(path, before):
    yield "new", "", ["text"]
    assert path.read_bytes() == before
    raise KeyError


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path / "a.parquet")
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write(path, fails_after_one(path, before))
    assert os.listdir(tmp_path) == ["a.parquet"]
    assert path.read_bytes() == before


def test_a_document_that_prepare_would_refuse_is_dropped_and_the_set_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 100)
    with DocumentWriter(tmp_path / "a.parquet") as writer:
        with pytest.raises(Dropped, match="document_too_large"):
            writer.write("large", "", ["a" * 60, PictureSegment(b"b" * 41)])
        for about in ({"url": "u" * 61}, {"alt": "a" * 61}):  # a data: URI is as long as its picture
            with pytest.raises(Dropped, match="document_too_large"):
                writer.write("about", "", [PictureSegment(b"b" * 40, **about)])
        writer.write("small", "", ["a" * 60, PictureSegment(b"b" * 20, "u" * 10, "a" * 10)])
    assert [document.id for document in read(tmp_path / "a.parquet")] == ["small"]


def test_a_set_without_documents_is_a_table_without_rows(tmp_path):
    assert read(write(tmp_path / "a.parquet", [])) == []


def test_hugging_face_datasets_load_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    path = write(tmp_path / "a.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"), keep_in_memory=True
    )
    rows = list(loaded)
    assert [row["id"] for row in rows] == ["site/a", "site/b", "site/c"]
    assert rows[0]["segments"][1] == {
        "type": "image", "text": None, "image": b"\x89PNG\0\xff", "url": "local:a.png", "alt": "a cat"
    }  # fmt: skip


@pytest.mark.parametrize("row_group_bytes", [1000, 1 << 20], ids=["while it is written", "at its end"])
def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, row_group_bytes):
    path = tmp_path / "a.parquet"
    rows = [(str(number), "", [PictureSegment(bytes([number]) * 1000)]) for number in range(100)]
    with room_for(50_000), pytest.raises(OSError, match="too large") as caught:
        write(path, rows, row_group_bytes=row_group_bytes)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
