"""Texts come as they are, from files, lines and columns."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data.formats import text
from mm1.data.formats.catalog import FORMATS
from mm1.data.formats.reading import ReadOptions
from mm1.types import Document, Text

SPELLED = "a <|image|> and an <|endoftext|> are text\n"


def test_a_plain_file_is_one_document(read, tmp_path):
    path = tmp_path / "book.txt"
    for data in (SPELLED.encode(), gzip.compress(SPELLED.encode())):
        path.write_bytes(data)
        assert read("text", path) == ([Document("book.txt/0", (Text(SPELLED),))], {}, {})
    for data, reason in (
        (b"", "empty document"), (b" \n", "empty document"), (b"caf\xe9", "invalid UTF-8"),
        (gzip.compress(SPELLED.rstrip().encode())[:-9], "truncated"),
    ):  # fmt: skip
        path.write_bytes(data)
        assert read("text", path) == ([], {reason: 1}, {})


@settings(max_examples=60)
@given(content=st.text(st.sampled_from("aé€😀\n"), min_size=1), limit=st.integers(4, 20))
def test_a_long_file_goes_on_in_the_next_document_and_nothing_is_lost(tmp_path_factory, content, limit):
    path = tmp_path_factory.mktemp("text") / "long.txt"
    path.write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "MAX_TEXT", limit)
        parts = [part for _, part in text._parts(path)]
    assert b"".join(parts) == content.encode()
    assert all(0 < len(part) <= limit and part.decode() is not None for part in parts)
    for part in parts[:-1]:
        assert part.endswith(b"\n") or b"\n" not in part


def test_lines_of_json(write, read, tmp_path):
    path = write.jsonl(
        tmp_path / "t.jsonl", [{"text": SPELLED, "id": "x"}, {"content": "b"}, {"text": 1}, {"title": "c"}]
    )
    documents, dropped, _ = read("text-json", path)
    assert documents == [Document("t/x", (Text(SPELLED),)), Document("t/2", (Text("b"),))]
    assert dropped == {"no text": 2}
    assert [document.segments for document in read("text-json", path, text="title")[0]] == [(Text("c"),)]


def test_columns_of_tables(write, read, tmp_path):
    path = write.table(tmp_path / "t.parquet", {"text": [SPELLED, None, ""], "n": [1, 2, 3]})
    expected = ([Document("t/0", (Text(SPELLED),))], {"no text": 1, "empty document": 1}, {})
    assert read("text-parquet", path) == expected
    with pytest.raises(UserError, match=r"none is named n and holds text"):
        read("text-parquet", path, text="n")


@settings(max_examples=30)
@given(rows=st.lists(st.text() | st.none() | st.integers(), max_size=8))
def test_documents_and_drops_are_all_that_was_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("text") / "t.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    assert len(list(FORMATS["text-json"].read(path, ReadOptions()))) == len(rows)
