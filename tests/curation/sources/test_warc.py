"""Responses as pages: what the server said is undone and believed as far as it goes; everything else is counted."""

import gzip
import io
import tracemalloc
import zlib
from collections import Counter

import pytest
from fastwarc.stream_io import BrotliWriter

from mm1.curation.fetch import FetchConfig
from mm1.curation.page import Dropped, Page
from mm1.curation.sources.warc import read_warc_images, read_warc_pages

HTML = b"<!doctype html><p>na\xc3\xafve"
LIMIT = 10_000
FETCH = FetchConfig()


@pytest.fixture
def read(tmp_path, warc):
    def call(*records, how="gzip"):
        path = tmp_path / "crawl.warc.gz"
        path.write_bytes(warc.packed(records, how)[0])
        return list(read_warc_pages(path, "crawl", LIMIT, FETCH))

    return call


def in_brotli(data):
    made = io.BytesIO()
    writer = BrotliWriter(made)
    writer.write(data)
    writer.close()
    return made.getvalue()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def reasons(items):
    return Counter(item.reason for item in items if isinstance(item, Dropped))


def test_a_response_is_a_page_with_its_address_and_charset(read, warc):
    first = warc.http(HTML, content_type="text/html; charset=ISO-8859-1", url="https://a.example/ü?b=1")
    items = read(first, warc.http(HTML))
    assert items == [
        Page("crawl/0", "https://a.example/ü?b=1", HTML, "iso-8859-1"),
        Page(f"crawl/{len(first)}", "https://a.example/", HTML, ""),
    ]


ENCODED = {
    "gzip": (["Content-Encoding: gzip"], gzip.compress(HTML)),
    "brotli": (["Content-Encoding: br"], in_brotli(HTML)),
    "deflate": (["Content-Encoding: deflate"], zlib.compress(HTML)),
    "two": (["Content-Encoding: gzip, br"], in_brotli(gzip.compress(HTML))),
    "chunked": (["Transfer-Encoding: chunked"], chunk(HTML[:5]) + chunk(HTML[5:]) + chunk(b"")),
    "undone by the crawler": (["Content-Encoding: gzip"], HTML),
    "not chunked": (["Transfer-Encoding: chunked"], HTML),
    "an encoding of its own": (["Content-Encoding: x-special"], HTML),
}  # fmt: skip


@pytest.mark.parametrize("how", ENCODED)
def test_encodings_of_the_transport_are_undone(read, warc, how):
    headers, body = ENCODED[how]
    assert [item.html for item in read(warc.http(body, *headers))] == [HTML]


def test_a_body_that_can_not_be_decoded_is_a_drop(read, warc):
    body = gzip.compress(HTML)
    assert reasons(read(warc.http(b"\x00" + body, "Content-Encoding: gzip"))) == {"bad_content_encoding": 1}


def test_sizes_count_after_decoding_and_a_bomb_is_not_unpacked(read, warc):
    bomb = gzip.compress(b"<html>" + b"a" * (100 << 20), 1)
    tracemalloc.start()
    items = read(
        warc.http(HTML + b"a" * (LIMIT - len(HTML))),
        warc.http(HTML + b"a" * (LIMIT - len(HTML) + 1)),
        warc.http(bomb, "Content-Encoding: gzip"),
        warc.http(HTML + b"a" * (2 << 20)),
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 << 20
    assert [type(item) for item in items] == [Page, Dropped, Dropped, Dropped]
    assert reasons(items) == {"too_large": 3}


def test_every_response_that_is_no_page_is_counted_and_requests_are_not(read, warc):
    items = read(
        warc.record(b"software: x", kind="warcinfo", content_type="application/warc-fields"),
        warc.record(b"GET / HTTP/1.1\r\n\r\n", kind="request", content_type="application/http; msgtype=request"),
        warc.record(b"a: b", kind="metadata", content_type="application/warc-fields"),
        warc.http(HTML),
        warc.http(b"", status="301 Moved"),
        warc.http(HTML, status="404 Not Found"),
        warc.http(HTML, status="503 Busy"),
        warc.http(HTML, status="999 Denied"),
        warc.http(b"\x89PNG", content_type="image/png"),
        warc.http(b"body{}", content_type="text/css"),
        warc.http(b"just text", content_type="text/plain"),
        warc.record(b"HTTP/1.1 200 OK\r\n\r\n", kind="revisit"),
        warc.record(b"text", kind="conversion", content_type="text/plain"),
        warc.record(b"no http"),
        warc.record(b""),
    )
    assert sum(isinstance(item, Page) for item in items) == 1
    assert reasons(items) == {
        "status_3xx": 1, "status_4xx": 1, "status_5xx": 1, "status_other": 1,
        "not_html": 4, "revisit": 1, "damaged_record": 2,
    }  # fmt: skip


def test_html_that_is_not_called_html_is_found_by_its_beginning(read, warc):
    for kind in ("", "text/plain", "application/octet-stream"):
        assert [type(item) for item in read(warc.http(b"\n <!-- a --> <HTML>", content_type=kind))] == [Page], kind
    assert reasons(read(warc.http(b"<html>", content_type="application/json"))) == {"not_html": 1}


def test_a_resource_without_http_is_a_page_too(read, warc):
    (page,) = read(warc.record(HTML, kind="resource", content_type="text/html"))
    assert page == Page("crawl/0", "https://a.example/", HTML)


def test_headers_with_bare_line_feeds_are_understood(read, warc):
    (page,) = read(warc.record(b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n" + HTML))
    assert page.html == HTML


def test_addresses_in_angle_brackets_are_bare(read, warc):
    (page,) = read(warc.http(HTML, url="<https://a.example/b>"))
    assert page.url == "https://a.example/b"


def test_pictures_of_a_file_are_its_good_responses_of_that_type(tmp_path, warc):
    path = tmp_path / "a.warc"
    records = [
        warc.http(b"one", content_type="image/png", url="https://a.example/1.png"),
        warc.http(gzip.compress(b"<svg>"), "Content-Encoding: gzip", content_type="image/svg+xml"),
        warc.http(b"two", "Content-Encoding: gzip", content_type="image/png", url="https://a.example/undone.png"),
        warc.http(b"none", content_type="image/png", status="404 Not Found"),
        warc.http(HTML),
    ]
    path.write_bytes(warc.packed(records, "plain")[0] + b"WARC/1.0\r\ncut")
    assert list(read_warc_images(path, FETCH)) == [
        ("https://a.example/1.png", b"one"),
        ("https://a.example/", b"<svg>"),
        ("https://a.example/undone.png", b"two"),
    ]


@pytest.mark.parametrize("length", ["18446744073709551615", "-5", "5x"])
def test_a_length_that_is_none_is_not_believed(read, warc, length):
    """The parser beneath would take that much memory: a panic, or an abort of the process, which nothing can catch."""
    first, second = warc.http(HTML), warc.http(HTML, url="https://b.example/")
    lying = first.replace(b"Content-Length", f"Content-Length: {length}\r\nContent-Length".encode(), 1)
    assert [item.url for item in read(lying, second)] == ["https://a.example/", "https://b.example/"]


def test_an_address_of_a_folder_is_none_of_a_crawl(read, warc):
    """Its pictures would be looked for among the files of a folder that is not there."""
    assert [item.url for item in read(warc.http(HTML, url="local:a/b.html"))] == [""]


REFUSING = [
    (["X-Robots-Tag: noai"], "opt_out"),
    (["x-robots-tag: nofollow", "X-ROBOTS-TAG: all, NoImageAI"], "opt_out"),
    (["X-Robots-Tag: noindex"], "opt_out"),
    (["X-Robots-Tag: mm1: none"], "opt_out"),
    (["X-Robots-Tag: ccbot:", " noai"], "opt_out"),
    (["tdm-reservation: 1"], "tdm_reservation"),
    (["X-Robots-Tag: otherbot: noai", "tdm-reservation: 0"], ""),
]


@pytest.mark.parametrize(("headers", "reason"), REFUSING)
def test_what_its_server_refuses_is_no_page_and_no_picture(tmp_path, warc, headers, reason):
    path = tmp_path / "a.warc"
    picture = {"content_type": "image/png", "url": "https://a.example/1.png"}
    path.write_bytes(warc.http(HTML, *headers) + warc.http(b"bytes", *headers, **picture))
    page, other = read_warc_pages(path, "a", LIMIT, FETCH)
    assert other.reason == "not_html"
    assert getattr(page, "reason", "") == reason
    assert list(read_warc_images(path, FETCH)) == [(picture["url"], reason or b"bytes")]
    ignoring = FetchConfig(opt_out=(), tdm_reservation=False)
    assert isinstance(next(read_warc_pages(path, "a", LIMIT, ignoring)), Page)
    assert list(read_warc_images(path, ignoring)) == [(picture["url"], b"bytes")]
