"""Chats of tables: pictures first, or where the questions mark them."""

import pyarrow as pa
import pytest

from mm1.config import UserError
from mm1.data.formats.chats import chat
from mm1.types import Document, Image

PICTURES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def turn(user, assistant):
    return {"user": user, "assistant": assistant, "source": "vqa"}


def test_rows_are_chats(write, read, tmp_path):
    images = [[{"bytes": b"x", "path": None}], [{"bytes": b"x", "path": None}, {"bytes": b"y", "path": None}], [], None]
    texts = [
        [turn("What?", "A cat."), turn("Big?", "No.")],
        [turn("<image> or <image>?", "Both.")],
        [turn("Hi", "Hello")],
        [turn("<image>", "Hello")],
    ]
    path = write.table(tmp_path / "c.parquet", {"images": pa.array(images, PICTURES), "texts": texts})
    documents, dropped, _ = read("cauldron", path)
    assert documents == [
        Document("c/0", chat([Image(b"x")], [("What?", "A cat."), ("Big?", "No.")])),
        Document("c/1", chat([Image(b"x"), Image(b"y")], [("<image> or <image>?", "Both.")])),
        Document("c/2", chat([], [("Hi", "Hello")])),
        Document("c/3", chat([], [("<image>", "Hello")])),
    ]
    assert dropped == {}


def test_what_is_no_chat_is_dropped_and_other_columns_are_one_sentence(write, read, tmp_path):
    images = pa.array([[{"bytes": None, "path": "a"}], [], [], [None]], PICTURES)
    texts = [[turn("q", "a")], [turn("q", None)], None, [turn("q", "a")]]
    path = write.table(tmp_path / "c.parquet", {"images": images, "texts": texts})
    assert read("cauldron", path) == ([], {"image without bytes": 2, "no assistant": 1, "no texts": 1}, {})
    path = write.table(tmp_path / "c.parquet", {"images": images, "texts": [["q"]] * 4})
    with pytest.raises(UserError, match=r"none is named texts and holds list of turns"):
        read("cauldron", path)
