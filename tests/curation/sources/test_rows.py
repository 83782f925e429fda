"""Rows keep their places however a file is cut, and what can not be read is counted."""

import gzip
import json
import tracemalloc

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mm1.curation.funnel import REASON
from mm1.curation.page import Dropped
from mm1.curation.sources import rows as module
from mm1.curation.sources.rows import RowSlice, rows


def read(path, layout="jsonl", columns=("html",), start=0, stop=0):
    return [
        (place, row.reason if isinstance(row, Dropped) else row)
        for place, row in rows(RowSlice(path, layout, columns, start, stop))
    ]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.text(max_size=30), max_size=12), st.integers(1, 60), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_slices_together_are_the_whole(tmp_path_factory, texts, size, end):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_text("".join(json.dumps({"html": text}) + end for text in texts), newline="")
    whole = read(path)
    assert [row["html"] for _, row in whole] == texts
    total = path.stat().st_size
    slices = [read(path, start=start, stop=min(start + size, total)) for start in range(0, total, size)]
    assert [row for part in slices for row in part] == whole


def test_places_are_the_same_when_the_file_is_compressed(tmp_path):
    data = b'{"html": "a"}\n\n{"html": "b", "url": "u"}\n'
    for name, packed in {
        "a": data,
        "b": gzip.compress(data),
        "c": pa.Codec("zstd").compress(data, asbytes=True),
    }.items():
        (tmp_path / name).write_bytes(packed)
        assert read(tmp_path / name) == [("0", {"html": "a"}), ("15", {"html": "b"})]


def test_bad_lines_are_counted_and_the_others_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE", 100)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"html": 1\n[1]\n"a"\n{"html": "' + b"x" * 500 + b'"}\n' + b"[" * 99 + b'\n{"b": 1}')
    assert [row for _, row in read(path)] == [
        "invalid_json", "no_json_object", "no_json_object", "too_large", "invalid_json", {"html": None}
    ]  # fmt: skip


def test_a_cut_off_stream_is_one_drop(tmp_path):
    data = gzip.compress(b"".join(b'{"html": "%d"}\n' % number for number in range(1000)))
    (tmp_path / "a").write_bytes(data[:-100])
    reasons = [row for _, row in read(tmp_path / "a") if isinstance(row, str)]
    assert reasons == ["truncated_file"]


def test_csv_has_quoted_line_breaks_and_its_header_names_the_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffurl,alt,n\nhttps://a,"a\nb",1\nhttps://b\n')
    assert read(path, "csv", ("url", "alt")) == [
        ("0", {"url": "https://a", "alt": "a\nb"}),
        ("1", {"url": "https://b", "alt": None}),
    ]


def test_row_groups_of_a_table(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"html": [b"a", b"b", b"c"], "n": [1, 2, 3]}), path, row_group_size=1)
    assert read(path, "parquet", ("html", "url"), 1, 3) == [
        ("1", {"html": b"b", "url": None}),
        ("2", {"html": b"c", "url": None}),
    ]
    assert len(read(path, "parquet")) == 3


def test_a_damaged_row_group_counts_all_its_rows(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"html": ["<p>" + "abc" * 100] * 6})
    parquet.write_table(table, path, row_group_size=3, compression="zstd", use_dictionary=False)
    start = parquet.read_metadata(path).row_group(0).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    assert [row if isinstance(row, str) else "page" for _, row in read(path, "parquet")] == ["damaged"] * 3 + [
        "page"
    ] * 3
    assert len(read(path, "parquet", start=1, stop=2)) == 3


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffhttps://a.example/\r\n\r\nhttps://b.example/\ufeff\r\n".encode())
    assert [row["url"] for _, row in read(path, "lines", ("url",))] == [
        "https://a.example/",
        "https://b.example/\ufeff",
    ]


def test_text_of_a_table_that_is_none_is_dropped_for_a_reason_that_counts(tmp_path):
    path = tmp_path / "a.parquet"
    spoilt = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\x01\0\0\0\x03\0\0\0"), pa.py_buffer(b"\xffok")]
    )
    parquet.write_table(pa.table({"html": spoilt}), path)
    (_, reason), (_, row) = read(path, "parquet")
    assert REASON.fullmatch(reason)
    assert row == {"html": "ok"}


def test_columns_that_hold_no_text_are_not_looked_at(tmp_path):
    """Python has no word for such a date."""
    path = tmp_path / "a.parquet"
    dates = pa.array([2**31 - 1], pa.date32())
    parquet.write_table(pa.table({"html": ["a"], "url": dates}), path)
    assert read(path, "parquet", ("html", "url")) == [("0", {"html": "a", "url": None})]


def test_an_endless_line_of_csv_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE", 1 << 20)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"url\nhttps://a.example/\n" + b"x" * (40 << 20) + b"\nhttps://b.example/\n", 1))
    tracemalloc.start()
    found = [row for _, row in read(path, "csv", ("url",))]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [{"url": "https://a.example/"}, "invalid_csv", {"url": "https://b.example/"}]
    assert peak < 20 << 20
