"""Curated documents become Documents; a row that is none is a drop, and reading goes on."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from mm1.config import UserError
from mm1.data.formats.document_tables import SCHEMA
from mm1.types import Document, Image, Text


def text(value):
    return {"type": "text", "text": value, "image": None, "url": None, "alt": None}


def image(data, **more):
    return {"type": "image", "text": None, "image": data, "url": "https://a.example/a.png", "alt": "a cat", **more}


def write(path, rows, schema=SCHEMA):
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def test_segments_come_in_their_order_with_the_bytes_of_the_pictures(tmp_path, read):
    row = {"id": "site/a", "url": "https://a.example/", "segments": [text("Once"), image(b"\0\xff"), text("upon")]}
    path = write(tmp_path / "a.parquet", [row])
    documents, dropped, _ = read("documents-parquet", path)
    assert documents == [Document("site/a", (Text("Once"), Image(b"\0\xff"), Text("upon")))]
    assert dropped == {}


def test_each_bad_row_is_one_drop_and_the_others_are_read(tmp_path, read):
    bad = {
        "empty document": [],
        "no image": [image(None)],
        "no text": [text(None)],
        "segment of unknown type": [{**text("a"), "type": "video"}],
        "image without bytes": [image(b"")],
    }
    rows = [{"id": "bad", "url": None, "segments": segments} for segments in bad.values()]
    good = {"id": "good", "url": None, "segments": [text("a")]}
    documents, dropped, _ = read("documents-parquet", write(tmp_path / "a.parquet", [*rows, good]))
    assert documents == [Document("good", (Text("a"),))]
    assert dropped == dict.fromkeys(bad, 1)


def test_a_row_without_an_id_is_named_by_its_place(tmp_path, read):
    schema = SCHEMA.remove(0)
    path = write(tmp_path / "part.parquet", [{"url": None, "segments": [text("a")]}], schema)
    assert [document.id for document in read("documents-parquet", path)[0]] == ["part/0"]


def test_another_table_is_a_sentence_and_a_damaged_one_a_drop(tmp_path, read):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"id": ["a"], "segments": [["a"]]}), path)
    with pytest.raises(UserError, match="none is named segments and holds list of segment"):
        read("documents-parquet", path)
    path.write_bytes(path.read_bytes()[:-20])
    assert read("documents-parquet", path)[1] == {"damaged": 1}
