"""What a body is, by its own bytes, and how far it is unpacked."""

import gzip
import os
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.fetch.content import Unpacker, check_start
from mm1.curation.fetch.failed import Failed
from tests.curation.fetch.misbehaving_server import picture


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_images_that_are_read_here(file_format: str) -> None:
    start = picture(file_format=file_format)[:512]
    check_start(start, "image", "text/html")
    with pytest.raises(Failed, match="not_html"):
        check_start(start, "html", "text/html")


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404", "not_an_image"),
        (b"%PDF-1.7", "not_an_image"),
        (b"\x89PNG\r\n", "not_an_image"),
        (b"RIFF\0\0\0\0WAVE", "not_an_image"),
        (b"\0\0\0\x1cftypavif", "image_format"),
        (b"II*\0\x08\0\0\0", "image_format"),
        (b"\0\0\1\0\1\0", "image_format"),
        (b"<svg xmlns=", "image_format"),
        (b"\xef\xbb\xbf <?xml version='1.0'?><!-- x --><svg>", "image_format"),
        (b"<!-- x --><html><svg>", "not_an_image"),
    ],
)
def test_what_is_no_image_to_be_read(start: bytes, reason: str) -> None:
    with pytest.raises(Failed) as failure:
        check_start(start, "image", "image/png")
    assert failure.value.reason == reason


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"plain words", "text/html"),
        (b"<?xml version='1.0'?><html xmlns=", "application/xhtml+xml"),
        (b"\n<!DOCTYPE html>", ""),
        (b"<div><p>x", "text/plain"),
        ("\ufeff<html>".encode("utf-16-le"), "text/html"),
    ],
)
def test_pages(start: bytes, media_type: str) -> None:
    check_start(start, "html", media_type)


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"", "text/html"),
        (b"%PDF-1.7", "text/html"),
        (b"PK\x03\x04", "text/html"),
        (b"a\0b", "text/html"),
        (b"{}", "application/json"),
        (b"a, b", "text/plain"),
        (b"<svg>", "text/html"),
    ],
)
def test_what_is_no_page(start: bytes, media_type: str) -> None:
    with pytest.raises(Failed):
        check_start(start, "html", media_type)


def deflate_raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = [
    ("", bytes),
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("X-GZip ", gzip.compress),
    ("gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]) + b"rubbish"),
    ("deflate", zlib.compress),
    ("deflate", deflate_raw),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_however_it_is_packed_and_cut_the_same_comes_out(encoding, pack, data: bytes, cuts: list[int]) -> None:
    packed = pack(data)
    unpacker = Unpacker(encoding, limit=200)
    edges = [0, *sorted(cuts), len(packed)]
    for begin, end in pairwise(edges):
        unpacker.feed(packed[begin:end])
    assert unpacker.result() == data
    assert unpacker.size == len(data)
    assert unpacker.start(3) == data[:3]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_no_byte_beyond_the_limit(encoding, pack) -> None:
    Unpacker(encoding, limit=1000).feed(pack(b"x" * 1000))
    with pytest.raises(Failed, match="too_large"):
        Unpacker(encoding, limit=999).feed(pack(b"x" * 1000))


def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(Failed, match="too_large"):
        Unpacker("gzip", limit=100_000).feed(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_packed_body_that_is_cut_or_broken(encoding: str) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](os.urandom(500))
    unpacker = Unpacker(encoding, 10_000)
    unpacker.feed(packed[:-6])
    with pytest.raises(Failed, match="truncated"):
        unpacker.result()
    with pytest.raises(Failed, match="bad_encoding"):
        Unpacker(encoding, 10_000).feed(packed[:100] + bytes(100) + packed[200:])


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_an_encoding_that_was_not_asked_for(encoding: str) -> None:
    with pytest.raises(Failed, match="content_encoding"):
        Unpacker(encoding, 10)
