"""Rows of parquet: only the columns asked for, damage counted by rows, other columns one sentence."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from mm1.config import UserError
from mm1.data.formats import tables
from mm1.data.formats.reading import Drop


def test_rows_come_in_order_over_row_groups(write, tmp_path):
    path = write.table(tmp_path / "a.parquet", {"n": list(range(100)), "other": ["x"] * 100}, row_group_size=7)
    found = list(tables.rows(path, ["n"]))
    assert [row for _, row in found] == [{"n": n} for n in range(100)]
    assert found[42][0] == f"{path}:42"


def test_a_damaged_row_group_is_counted_by_its_rows_and_the_others_are_read(write, tmp_path):
    path = write.table(
        tmp_path / "a.parquet", {"n": [f"{n:099}" for n in range(100)]}, row_group_size=20, compression="zstd",
        use_dictionary=False,
    )  # fmt: skip
    chunk = parquet.ParquetFile(path).metadata.row_group(2).column(0)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    rows = [row for _, row in tables.rows(path, ["n"])]
    drops = [row for row in rows if isinstance(row, Drop)]
    assert [(drop.reason, drop.count, drop.where) for drop in drops] == [("damaged", 20, f"{path}:40")]
    assert [int(row["n"]) for row in rows if not isinstance(row, Drop)] == [*range(40), *range(60, 100)]


@pytest.mark.parametrize("keep", [0, 3, 200])
def test_a_truncated_file_is_one_drop(write, tmp_path, keep):
    path = write.table(tmp_path / "a.parquet", {"n": list(range(100))})
    path.write_bytes(path.read_bytes()[:keep])
    assert tables.columns(path) is None
    assert [row.reason for _, row in tables.rows(path, ["n"])] == ["damaged"]


def test_text_that_is_not_utf8_loses_its_row_only(write, tmp_path):
    texts = pa.array([b"a", b"caf\xe9", b"b"], pa.binary()).view(pa.string())
    rows = [row for _, row in tables.rows(write.table(tmp_path / "a.parquet", {"t": texts}), ["t"])]
    assert [row if isinstance(row, dict) else row.reason for row in rows] == [{"t": "a"}, "invalid UTF-8", {"t": "b"}]


def test_other_columns_are_one_sentence_that_names_both(write, tmp_path):
    path = write.table(tmp_path / "a.parquet", {"url": ["x"], "caption": [1]})
    found = tables.columns(path)
    with pytest.raises(UserError) as error:
        tables.choose(path, found, ("caption", "text"), "text")
    assert str(error.value) == (
        f"{path} has the columns url (text), caption (int64), but none is named caption or text and holds text: "
        "name another format with --format, or the column of the text with --text"
    )
    assert tables.choose(path, found, ("caption", "text"), "text", "url") == "url"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (pa.large_string(), "text"),
        (pa.dictionary(pa.int8(), pa.string()), "text"),
        (pa.large_binary(), "bytes"),
        (pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "list of picture"),
        (pa.large_list(pa.struct([("user", pa.string()), ("assistant", pa.string())])), "list of turns"),
        (pa.float32(), "float"),
    ],
)
def test_columns_are_told_by_what_they_hold(kind, word):
    assert tables.kind_of(kind) == word


def test_rows_in_memory_together_are_bounded_by_their_bytes(write, tmp_path, monkeypatch):
    read_at_once = []
    located = tables._located
    monkeypatch.setattr(tables, "_located", lambda *a: read_at_once.append(a[2].num_rows) or located(*a))
    monkeypatch.setattr(tables, "_BYTES_AT_ONCE", 4000)
    columns = {"b": [b"%d" % n * 500 for n in range(1000, 1040)], "n": list(range(40))}
    path = write.table(tmp_path / "a.parquet", columns, use_dictionary=False)
    assert [row["n"] for _, row in tables.rows(path, ["b", "n"])] == list(range(40))
    assert set(read_at_once) == {1}
    read_at_once.clear()
    assert len(list(tables.rows(path, ["n"]))) == 40
    assert max(read_at_once) == 16


def test_a_row_larger_than_a_document_is_one_drop_and_the_others_are_read(write, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_DOCUMENT_BYTES", 100)
    path = write.table(tmp_path / "a.parquet", {"b": [b"a", b"x" * 1000, b"b", b"y" * 150]})
    rows = [row if isinstance(row, dict) else row.reason for _, row in tables.rows(path, ["b"])]
    assert rows == [{"b": b"a"}, "document too large", {"b": b"b"}, {"b": b"y" * 150}]
