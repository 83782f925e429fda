"""Captions of tables, with pictures as bytes or as Hugging Face writes them."""

import pyarrow as pa
import pytest

from mm1.config import UserError
from mm1.types import Document, Image, Text

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_both_kinds_of_picture_columns(write, read, tmp_path):
    one = write.table(tmp_path / "one.parquet", {"jpg": [b"x", b"y"], "caption": ["a", "b "], "url": ["u", "v"]})
    rows = [{"bytes": b"x", "path": "x.jpg"}, {"bytes": b"y", "path": None}]
    two = write.table(tmp_path / "two.parquet", {"image": pa.array(rows, PICTURE), "text": ["a", "b"]})
    for path in (one, two):
        documents, dropped, _ = read("captions", path)
        assert documents == [
            Document(f"{path.stem}/0", (Image(b"x"), Text(" a\n"))),
            Document(f"{path.stem}/1", (Image(b"y"), Text(" b\n"))),
        ]
        assert dropped == {}


def test_rows_without_bytes_or_caption_are_dropped(write, read, tmp_path):
    rows = [None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b"", "path": None}, {"bytes": b"x", "path": None}]
    columns = {"image": pa.array([*rows, rows[3]], PICTURE), "caption": ["a", "b", "c", None, " "]}
    documents, dropped, _ = read("captions", write.table(tmp_path / "a.parquet", columns))
    assert documents == []
    assert dropped == {"image without bytes": 3, "no caption": 2}


def test_another_column_may_hold_the_captions_and_none_is_one_sentence(write, read, tmp_path):
    path = write.table(tmp_path / "a.parquet", {"jpg": [b"x"], "recaption": ["new"]})
    assert read("captions", path, text="recaption")[0][0].segments[1] == Text(" new\n")
    with pytest.raises(
        UserError, match=r"has the columns jpg \(bytes\), recaption \(text\), but none is named caption"
    ):
        read("captions", path)
    path = write.table(tmp_path / "a.parquet", {"url": ["x"], "caption": ["new"]})
    with pytest.raises(UserError, match=r"none is named image or jpg .* holds bytes or picture"):
        read("captions", path)
