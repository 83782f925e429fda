"""Lines and objects come one by one from any compression; what is too long, broken or cut off is one drop."""

import gzip
import json
import struct
import zipfile
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.data.formats import streams
from mm1.data.formats.reading import Drop

LINES = [json.dumps({"n": n, "text": "word " * (n % 50)}).encode() for n in range(5000)]
CONTENT = b"\n".join(LINES) + b"\n"


def zipped(path, *names):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return path.read_bytes()


COMPRESS = {
    "plain": lambda path: CONTENT,
    "gzip": lambda path: gzip.compress(CONTENT[:99]) + gzip.compress(CONTENT[99:]),
    "zstd": lambda path: pa.Codec("zstd").compress(CONTENT, asbytes=True),
    "zip": lambda path: zipped(path, "a.jsonl"),
}


SKIPPABLE = struct.pack("<II", 0x184D2A5E, 5) + b"aside"
COMPRESS |= {
    "gzip with zeros": lambda path: (
        gzip.compress(CONTENT[:99]) + bytes(70_000) + gzip.compress(CONTENT[99:]) + bytes(9)
    ),
    "zstd with skippable frames": lambda path: SKIPPABLE + COMPRESS["zstd"](path) + SKIPPABLE,
}


@pytest.mark.parametrize("how", COMPRESS)
def test_lines_are_the_same_however_they_are_compressed(tmp_path, how):
    path = tmp_path / "lines"  # the name says nothing
    path.write_bytes(COMPRESS[how](path))
    found = list(streams.lines(path))
    assert [line for _, line in found] == LINES
    assert found[41][0] == f"{path}:42"


@pytest.mark.parametrize("how", ["gzip", "zstd", "zip"])
@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_what_was_read_before_the_harm_stays_and_one_drop_tells_of_the_rest(tmp_path, how, harm):
    path = tmp_path / "lines"
    data = bytearray(COMPRESS[how](path))
    if harm == "cut":
        del data[len(data) * 9 // 10 :]
    else:
        data[len(data) // 2] ^= 255
    path.write_bytes(data)
    *lines, last = [line for _, line in streams.lines(path)]
    assert isinstance(last, Drop)
    assert last.reason in ("truncated", "damaged")
    trusted = min(len(lines), 1000) if harm == "flip" else len(lines)  # checksums come after what they are of
    assert lines[:trusted] == LINES[:trusted]
    if harm == "cut" and how != "zip":  # a zip's list of files stands at its end
        assert len(lines) > 1000


def test_a_cut_off_gzip_loses_its_last_partial_line_only(tmp_path):
    path = tmp_path / "lines"
    content = b"\n".join(f"{number * number}".encode() for number in range(400)) + b"\n"
    whole = gzip.compress(content)
    for cut in range(30, len(whole), 7):
        path.write_bytes(whole[:cut])
        there = zlib.decompressobj(wbits=31).decompress(whole[:cut])
        *lines, last = [line for _, line in streams.lines(path)]
        assert lines == there.split(b"\n")[:-1]
        assert last.reason == "truncated"


def test_a_cut_off_zstd_gives_all_that_its_decoder_can(tmp_path):
    path = tmp_path / "lines"
    frames = [pa.Codec("zstd").compress(line + b"\n", asbytes=True) for line in LINES[:300]]
    path.write_bytes(b"".join(frames)[:-5])
    *lines, last = [line for _, line in streams.lines(path)]
    assert lines == LINES[:299]
    assert last.reason == "truncated"


def test_what_follows_a_gzip_is_damage(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(gzip.compress(b"one\ntwo\n") + b"\0\0junk")
    one, two, last = [line for _, line in streams.lines(path)]
    assert (one, two, last.reason) == (b"one", b"two", "damaged")


def test_a_zip_of_several_files_or_an_encrypted_one_is_a_drop(tmp_path):
    path = tmp_path / "two.zip"
    zipped(path, "a.jsonl", "b.jsonl")
    assert [line.reason for _, line in streams.lines(path)] == ["zip of several files"]
    data = bytearray(zipped(path, "a.jsonl"))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert [line.reason for _, line in streams.lines(path)] == ["encrypted zip"]


def test_a_line_of_any_length_takes_bounded_memory_and_is_one_drop(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MAX_LINE", 100)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"first\n" + b"0" * 50_000_000 + b"\nlast\n"))
    assert path.stat().st_size < 60_000
    (_, first), (where, bomb), (_, last) = streams.lines(path)
    assert (first, last) == (b"first", b"last")
    assert (bomb.reason, where) == ("line too long", f"{path}:2")


def test_records_are_objects_of_lines_or_of_an_array(tmp_path):
    rows = [{"a": 1}, {"b": [2, "ü"]}]
    path = tmp_path / "rows.json"
    for text in ("\n\n".join(map(json.dumps, rows)), json.dumps(rows), "\ufeff" + json.dumps(rows, indent=4)):
        path.write_text(text)
        assert [row for _, row in streams.json_records(path)] == rows


@pytest.mark.parametrize("line", ["{", "[1]", '"a"', "1" * 5000, "[" * 100_000, '{"a": 1} {"b": 2}'])
def test_a_line_that_is_no_object_is_one_drop_and_the_next_is_read(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 0}\n' + line + '\n{"a": 2}\n')
    first, dropped, last = [row for _, row in streams.json_records(path)]
    assert (first, last) == ({"a": 0}, {"a": 2})
    assert dropped.reason in ("invalid JSON", "no JSON object")


@settings(max_examples=50)
@given(
    rows=st.lists(
        st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(0, 1)), max_size=3) | st.integers()
    ),
    window=st.integers(1, 40),
    indent=st.none() | st.integers(0, 3),
)
def test_array_items_are_found_with_any_window(tmp_path_factory, rows, window, indent):
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_SKIP", window)
        assert [row for _, row in streams.array_items(path)] == rows


def test_an_array_that_is_cut_off_or_broken_keeps_what_was_before(tmp_path, monkeypatch):
    path = tmp_path / "rows.json"
    for text, reason in (
        ('[{"a": 0}, {"a": 1}, {"a": ', "truncated"),
        ('[{"a": 0}, {"a": 1}', "truncated"),
        ('[{"a": 0}, {"a": 1}, ' + "[" * 100_000, "invalid JSON"),
        ('[{"a": 0}, {"a": 1}, {"long": "' + "0" * 2000 + '"}]', "invalid JSON"),
    ):
        monkeypatch.setattr(streams, "MAX_LINE", 1000 if "long" in text else 1 << 20)
        monkeypatch.setattr(streams, "_SKIP", 64)
        path.write_text(text)
        *rows, last = [row for _, row in streams.json_records(path)]
        assert rows == [{"a": 0}, {"a": 1}]
        assert last.reason == reason


def test_what_follows_an_array_is_one_drop(tmp_path, monkeypatch):
    """As where two files were joined into one."""
    monkeypatch.setattr(streams, "_SKIP", 8)
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 0}]' + " \n" * 20 + '[{"a": 1}, {"a": 2}]\n')
    first, dropped = [row for _, row in streams.json_records(path)]
    assert first == {"a": 0}
    assert dropped.reason == "text after an array"
    path.write_text('[{"a": 0}]' + " \n" * 20)
    assert [row for _, row in streams.json_records(path)] == [{"a": 0}]
