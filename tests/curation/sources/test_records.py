"""Cut and damaged WARC files: whole records come out whole, each damaged place is counted once, reading goes on."""

import os
import random
from pathlib import Path

import pytest

from mm1.curation.page import Dropped
from mm1.curation.sources.records import Record, _Window, records

LIMIT = 1 << 20
NUMBER = 3


@pytest.fixture(scope="module")
def three(warc):
    random.seed(0)
    bodies = [f"<html>page {number} {random.random()}".encode() for number in range(NUMBER)]
    return [warc.http(body, url=f"https://a.example/{number}") for number, body in enumerate(bodies)]


def read(data, limit=LIMIT):
    """The file lies in memory: there are thousands."""
    handle = os.memfd_create("warc")
    try:
        os.write(handle, data)
        return list(records(Path(f"/proc/self/fd/{handle}"), limit))
    finally:
        os.close(handle)


def whole(items):
    return [item.header + item.block + b"\r\n\r\n" for item in items if isinstance(item, Record)]


def reasons(items):
    return [item.reason for item in items if isinstance(item, Dropped)]


@pytest.mark.parametrize("how", ["plain", "gzip", "gzip_whole", "zstd", "lz4"])
def test_a_file_cut_anywhere_gives_its_whole_records_and_one_drop(warc, three, how):
    data, ends = warc.packed(three, how)
    assert whole(read(data)) == three
    for cut in range(1, len(data)):
        items = read(data[:cut])
        found, lost = whole(items), reasons(items)
        assert found == three[: len(found)]
        if how == "plain":  # all but the empty lines behind a record is a record
            complete = next((n for n, end in enumerate(ends) if end - 4 <= cut <= end), None)
            assert lost == ([] if complete is not None else ["truncated_record"]), cut
            assert len(found) == (sum(end <= cut for end in ends) - 1 if complete is None else complete), cut
        elif how != "gzip_whole":
            more = len(found) - (sum(end <= cut for end in ends) - 1)
            assert more == 0 or (more == 1 and how != "gzip"), cut  # zstd's and lz4's frames have ends without content
            assert lost == ([] if cut in ends else ["truncated_record"]), cut
        else:
            assert lost == ["truncated_record"], cut
            assert len(found) < NUMBER


@pytest.mark.parametrize("flip", [0x01, 0x55, 0x80, 0xFF])
def test_a_damaged_byte_costs_its_own_gzip_member_alone(warc, three, flip):
    data, ends = warc.packed(three, "gzip")
    for place in range(4, len(data)):  # the first three tell that it is gzip
        damaged = bytearray(data)
        damaged[place] ^= flip
        items = read(damaged)
        hit = sum(end <= place for end in ends) - 1
        others = [record for number, record in enumerate(three) if number != hit]
        if reasons(items):
            assert (whole(items), len(reasons(items))) == (others, 1), place
        else:  # a byte that means nothing, as the time in gzip's header
            assert whole(items) == three, place


def test_cut_files_put_together_give_all_whole_records(warc, three):
    for how in ("plain", "gzip"):
        data, ends = warc.packed(three, how)
        items = read(data[: ends[2] - 40] + data)
        assert whole(items)[0] == three[0]
        assert whole(items)[-2:] == three[1:]
        assert len(reasons(items)) == 1
        if how == "gzip":  # a plain cut record swallows the beginning of what follows
            assert whole(items) == [three[0], *three]


def test_garbage_between_records_is_one_drop(three):
    items = read(three[0] + b"garbage\n" * 1000 + three[1] + b"\0" * 5000 + three[2])
    assert whole(items) == three
    assert reasons(items) == ["damaged_record"] * 2


@pytest.mark.parametrize(
    "line", [b"Content-Length: -5", b"Content-Length: x", b"Content-Length: 9" + b"9" * 30, b"No: 1"]
)
def test_a_record_without_a_length_is_one_drop(three, line):
    items = read(three[0] + b"WARC/1.0\r\nWARC-Type: response\r\n" + line + b"\r\n\r\nbody\r\n\r\n" + three[1])
    assert whole(items) == three[:2]
    assert reasons(items) == ["damaged_record"]


def test_a_long_block_is_passed_without_being_held(warc, three):
    long = warc.http(b"x" * (3 << 20))
    for how in ("plain", "gzip"):
        data, _ = warc.packed([three[0], long, three[1]], how)
        items = read(data, limit=1000)
        assert [item.block is None for item in items] == [False, True, False]
        items = read(data[: -len(data) // 2], limit=1000)
        assert reasons(items) == ["truncated_record"]


def test_offsets_are_those_of_the_decompressed_file(warc, three):
    offsets = [0, *(sum(map(len, three[: n + 1])) for n in range(2))]
    for how in ("plain", "gzip", "gzip_whole", "zstd", "lz4"):
        assert [item.offset for item in read(warc.packed(three, how)[0])] == offsets


def test_an_endless_header_is_one_drop():
    assert reasons(read(b"WARC/1.0\r\n" + b"a" * (1 << 20))) == ["damaged_record"]


@pytest.mark.timeout(60)
def test_headers_without_an_end_are_searched_once(three):
    """Each line may begin a record; a search of 64 kB for each would take a minute for 200 kB."""
    items = read(three[0] + b"WARC/1.0\nA: b\n" * 100_000 + b"\n\n" + three[1])
    assert whole(items) == three[:2]
    assert set(reasons(items)) == {"damaged_record"}


def test_an_empty_file_has_no_records():
    assert read(b"") == []
    assert read(b"\r\n\r\n") == []


def test_blank_lines_are_passed_many_at_a_time(three, monkeypatch):
    """A megabyte of them is a kilobyte of gzip: taken one by one they would keep a processor busy for hours."""
    steps = []
    skip = _Window.skip
    monkeypatch.setattr(_Window, "skip", lambda self, size: steps.append(size) or skip(self, size))
    assert whole(read(three[0] + b"\r\n" * (1 << 20) + three[1])) == three[:2]
    assert len(steps) < 100
