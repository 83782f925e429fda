"""Shares of a large file, read apart, are together what the whole file is, each line and row once."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.data.formats import streams, tables
from mm1.data.formats.catalog import FORMATS
from mm1.data.formats.reading import Drop, ReadOptions


def contents(name, path, size):
    """The documents' segments and the reasons of drops, of the whole file and of all shares of it."""
    shares = FORMATS[name].shares(path, size)
    runs = [[None], shares]
    items = [[item for share in run for item in FORMATS[name].read(path, ReadOptions(share=share))] for run in runs]
    ids = [item.id for item in items[1] if not isinstance(item, Drop)]
    assert len(set(ids)) == len(ids)
    return [[getattr(item, "segments", None) or item.reason for item in run] for run in items], shares


@settings(max_examples=80)
@given(
    texts=st.lists(st.text(st.sampled_from("aé \n😀"), max_size=12), min_size=1, max_size=12),
    size=st.integers(1, 60),
    end=st.sampled_from(["", "\n", "\r\n\n"]),
)
def test_shares_of_lines_are_the_lines(tmp_path_factory, texts, size, end):
    path = tmp_path_factory.mktemp("lines") / "t.jsonl"
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    path.write_bytes(("\n".join(["{broken", *lines]) + end).encode())
    (whole, shared), _ = contents("text-json", path, size)
    assert shared == whole


@settings(max_examples=40)
@given(content=st.text(st.sampled_from("ab\n"), min_size=1, max_size=60), size=st.integers(1, 30))
def test_shares_of_a_text_are_its_lines(tmp_path_factory, content, size):
    path = tmp_path_factory.mktemp("text") / "t.txt"
    path.write_text("x" + content)
    shares = streams.line_shares(path, size)
    parts = [streams.open_stream(path, share) for share in shares]
    read = []
    for part in parts:
        with part as stream:
            read.append(stream.read())
    assert b"".join(read) == path.read_bytes()
    begins = [sum(map(len, read[:number])) for number in range(len(read))]
    parts = zip(begins, shares, read, strict=True)
    assert all(share is None or begin in share for begin, share, part in parts if part)
    assert all(part.endswith(b"\n") for part in [part for part in read if part][:-1])


def test_a_line_longer_than_a_share_belongs_to_the_share_it_begins_in(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"text": "x" * length}) for length in (3, 500, 2)))
    (whole, shared), shares = contents("text-json", path, 50)
    assert shared == whole
    assert len(shares) > 8


def test_what_is_read_from_its_beginning_only_has_no_shares(tmp_path):
    path = tmp_path / "t.jsonl"
    line = b'{"text": "a"}\n' * 50
    for data in (gzip.compress(line), pa.Codec("zstd").compress(line, asbytes=True), b" [" + line, line[:20]):
        path.write_bytes(data)
        assert streams.line_shares(path, 20) == [None]
    path.write_bytes(line)
    assert len(streams.line_shares(path, 20)) == 35


@pytest.mark.parametrize("size", [1, 900, 5000])
def test_shares_of_tables_are_row_groups(write, tmp_path, size):
    path = write.table(tmp_path / "t.parquet", {"text": [f"row {n} " * 9 for n in range(100)]}, row_group_size=7)
    (whole, shared), shares = contents("text-parquet", path, size)
    assert shared == whole
    assert len(shares) > 1
    assert [group for share in shares for group in share] == list(range(15))
    assert tables.group_shares(path, 1 << 20) == [None]
    path.write_bytes(path.read_bytes()[:-9])
    assert tables.group_shares(path, 1) == [None]
