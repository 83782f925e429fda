"""What comes of an address, asked of a server that misbehaves."""

import asyncio
import errno
import gzip
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mm1.config import UserError
from mm1.curation.fetch import Fetched, Tombstones, fetch
from tests.curation.fetch.misbehaving_server import PNG, RESET, Server, answer, ok, picture

HTML = b"<!doctype html><title>x</title><p>" + b"words " * 200


def outcome(route: Any, **changes: Any) -> Fetched:
    """Of the address http://a.test/x, for which the server has `route`."""
    with Server({"/x": route}) as server:
        [got] = server.fetch(["http://a.test/x"], **{"retries": 0, **changes})
    return got


async def endless() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n" + PNG
    while True:
        yield bytes(100_000)


async def endless_chunks() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"186a0\r\n" + PNG.ljust(100_000) + b"\r\n"


async def endless_headers() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: " + b"x" * 1000 + b"\r\n"


async def endless_interim_answers() -> AsyncIterator[bytes]:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100
        await asyncio.sleep(0.01)


async def drops() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + PNG
    while True:
        yield b"."
        await asyncio.sleep(0.02)


async def silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(3600)
    yield b""


async def silence_after_a_start() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + PNG
    await asyncio.sleep(3600)


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def a_broken_chunk() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n" + PNG[:8] + b"\r\nzz\r\n"


async def a_chunk_cut_short() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n80\r\n" + PNG[:8]


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_an_image_comes_whatever_it_is_called(file_format: str) -> None:
    data = picture(file_format=file_format)
    got = outcome(ok(data, Content_Type="text/plain; charset=x"))
    assert got == Fetched(got.url, data, final_url=got.url, media_type="text/plain", charset="x")


def test_a_page_comes_with_what_was_said_of_its_letters() -> None:
    got = outcome(ok(HTML, Content_Type='Text/HTML; Charset="UTF-8"'), accept="html")
    assert got == Fetched(got.url, HTML, final_url=got.url, media_type="text/html", charset="utf-8")


@pytest.mark.parametrize("packed", [gzip.compress(HTML), gzip.compress(HTML[:50]) + gzip.compress(HTML[50:])])
def test_a_packed_page_is_unpacked(packed: bytes) -> None:
    got = outcome(ok(packed, Content_Encoding="gzip", Content_Type="text/html"), accept="html")
    assert got.data == HTML


@pytest.mark.parametrize(
    ("route", "reason", "permanent"),
    [
        (answer(404, HTML), "http_404", True),
        (answer(410), "http_410", True),
        (answer(403), "http_403", True),
        (answer(204), "http_204", True),
        (answer(206, PNG), "http_206", True),
        (answer(302), "http_302", True),
        (answer(304), "http_304", True),
        (answer(429), "http_429", False),
        (answer(500), "http_500", False),
        (answer(503), "http_503", False),
        (answer(520), "http_520", False),
        (ok(b""), "empty", True),
        (ok(HTML, Content_Type="image/jpeg"), "not_an_image", True),
        (ok(b"<svg xmlns='x'/>", Content_Type="image/svg+xml"), "image_format", True),
        (ok(PNG[:30]), "unreadable", True),
        (ok(picture(1000, 900)), "too_many_pixels", True),
        (ok(PNG, X_Robots_Tag="noai"), "opt_out", True),
        (ok(PNG, tdm_reservation="1"), "tdm_reservation", True),
        (ok(PNG, Content_Encoding="br"), "content_encoding", True),
        (ok(PNG, Content_Encoding="gzip"), "bad_encoding", True),
        (ok(gzip.compress(PNG + bytes(1_000_000)), Content_Encoding="gzip"), "too_large", True),
        (ok(PNG.ljust(60_000)), "too_large", True),
        (ok(PNG, Content_Length="1000000000000"), "too_large", True),
        (endless, "too_large", True),
        (endless_chunks, "too_large", True),
        (drops, "too_slow", False),
        (silence, "timeout", False),
        (silence_after_a_start, "timeout", False),
        (endless_interim_answers, "timeout", False),
        (nothing, "connection_lost", False),
        (RESET, "connection_lost", False),
        (a_broken_chunk, "bad_response", True),
        (a_chunk_cut_short, "truncated", False),
        (endless_headers, "bad_response", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_response", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad_response", True),
        (b"\xff\xd8\xff" * 100 + b"\r\n\r\n", "bad_response", True),
    ],
)
def test_why_an_address_gives_nothing(route: Any, reason: str, permanent: bool) -> None:
    got = outcome(
        route,
        max_bytes=50_000,
        max_pixels=100_000,
        read_timeout_seconds=0.3,
        total_timeout_seconds=1.5,
        min_bytes_per_second=10_000,
    )
    assert (got.data, got.reason, got.permanent) == (None, reason, permanent)


def test_a_body_that_ends_too_early_is_no_body() -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield ok(PNG, Content_Length="5000")

    assert outcome(cut).reason == "truncated"


def test_slow_but_steady_is_caught_by_the_whole_time() -> None:
    assert outcome(drops, min_bytes_per_second=0, total_timeout_seconds=0.4).reason == "timeout"


def test_what_follows_a_body_that_was_announced_shorter_is_not_taken_for_the_next_answer() -> None:
    forged = ok(PNG + ok(b"BM forged"), Content_Length=str(len(PNG)))
    with Server({"/x": forged, "/y": ok(picture(50, 50))}) as server:
        got = server.fetch(["http://a.test/x", "http://a.test/y"], per_host=1)
    assert [item.data for item in got] == [PNG, picture(50, 50)]


def test_a_gzip_bomb_of_a_page_stops_at_the_limit() -> None:
    bomb = ok(gzip.compress(HTML + bytes(30_000_000)), Content_Encoding="gzip", Content_Type="text/html")
    assert outcome(bomb, accept="html", max_bytes=100_000).reason == "too_large"


@pytest.mark.parametrize("tag", ['<meta name="robots" content="noai">', '<meta name="tdm-reservation" content="1">'])
def test_a_page_can_refuse_by_its_tags(tag: str) -> None:
    assert not outcome(ok(tag.encode() + HTML), accept="html").data


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:secret@a.test/", "credentials"),
        ("file:///etc/passwd", "not_http"),
        ("http://a.test:22/", "bad_port"),
        ("http://2130706433/", "bad_host"),
        ("nonsense", "bad_url"),
    ],
)
def test_what_is_never_asked(url: str, reason: str) -> None:
    with Server({}) as server:
        assert list(fetch([url], server.config())) == [Fetched(url, reason=reason, permanent=True)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_to_another_host_and_its_robots_are_asked(status: int) -> None:
    with Server({"/y": ok(PNG)}) as server:
        server.routes["/x"] = answer(status, Location=server.url("http://b.test/y#z"))
        [got] = server.fetch(["http://a.test/x"])
        assert (got.data, got.final_url) == (PNG, server.url("http://b.test/y"))
        assert ("b.test", "/robots.txt") in server.asked


@pytest.mark.parametrize("location", ["/gr\u00fcn", "/gr\udcfcn", "/gr%C3%BCn", "./gr\u00fcn"])
def test_a_location_beyond_ascii(location: str) -> None:
    with Server({"/x": answer(302, Location=location), "/gr%C3%BCn": ok(PNG)}) as server:
        assert server.fetch(["http://a.test/x"])[0].data == PNG


def test_nothing_is_kept_or_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Server({"/x": ok(PNG, Set_Cookie="a=b"), "/y": ok(PNG)}) as server:
        assert all(got.data for got in server.fetch(["http://a.test/x", "http://a.test/y"], per_host=1))
        assert all(headers["user-agent"].startswith("mm1/") for headers in server.headers)
        assert not any({"cookie", "authorization", "referer"} & headers.keys() for headers in server.headers)


def test_one_outcome_for_each_address_and_addresses_are_read_as_they_are_needed() -> None:
    read = 0

    def urls(server: Server) -> Iterator[str]:
        nonlocal read
        for number in range(300):
            read += 1
            yield server.url(f"http://h{number % 7}.test/{number % 3}")

    with Server({"/0": ok(PNG), "/1": answer(404)}) as server:
        config = server.config(max_waiting=20, concurrency=4)
        outcomes = fetch(urls(server), config, resolve=lambda host: ["127.0.0.1"])
        for taken, _ in enumerate(outcomes, start=1):
            assert read <= taken + 21
        assert taken == 300


def test_while_nothing_is_taken_little_is_asked() -> None:
    with Server({f"/{number}": ok(PNG) for number in range(50)}) as server:
        urls = [server.url(f"http://a.test/{number}") for number in range(50)]
        outcomes = fetch(urls, server.config(concurrency=3, per_host=50), resolve=lambda host: ["127.0.0.1"])
        first = next(outcomes)
        while len(server.paths()) < 4 or server.active:
            pass
        assert len(server.paths()) == 4  # one was taken, three hold the slots
        assert first.data == PNG
        assert sum(1 for _ in outcomes) == 49


def test_leaving_early_closes_everything() -> None:
    before = threading.active_count()
    with Server({"/x": silence, "/y": ok(PNG)}) as server:
        urls = [server.url("http://a.test/x"), server.url("http://b.test/y")]
        for _ in fetch(urls, server.config(), resolve=lambda host: ["127.0.0.1"]):
            break
    assert threading.active_count() == before


def test_an_error_of_the_callers_own_addresses_reaches_the_caller() -> None:
    def urls() -> Iterator[str]:
        yield "nonsense"
        raise RuntimeError("disk")

    with Server({}) as server, pytest.raises(RuntimeError, match="disk"):
        list(fetch(urls(), server.config()))


def test_an_error_in_the_loop_reaches_the_caller() -> None:
    def resolve(host: str) -> list[str]:
        raise KeyError(host)

    with Server({}) as server, pytest.raises(KeyError, match=r"a\.test"):
        server.fetch(["http://a.test/x"], resolve=resolve)


def test_a_machine_without_open_files_is_no_fault_of_the_servers() -> None:
    def resolve(host: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    with Server({}) as server, pytest.raises(UserError, match="too many open files: lower"):
        server.fetch(["http://a.test/x"], resolve=resolve)


def test_connections_of_hosts_that_are_done_with_are_closed() -> None:
    with Server({"/x": ok(PNG), "/y": ok(PNG)}) as server:
        server.fetch(["http://a.test/x", "http://a.test/y", "http://b.test/x"], per_host=1)
        kept = {
            (host, path): headers["connection"]
            for (host, path), headers in zip(server.asked, server.headers, strict=True)
        }
    assert kept["a.test", "/robots.txt"] == kept["a.test", "/x"] == "keep-alive"
    assert kept["a.test", "/y"] == kept["b.test", "/x"] == "close"


def test_tombstones_are_not_asked_twice(tmp_path: Path) -> None:
    now = [0.0]
    routes = {"/ok": ok(PNG), "/gone": answer(410), "/down": answer(503), "/text": ok(HTML), "/broken": ok(PNG[:30])}
    with Server(routes) as server:

        def run() -> dict[str, str]:
            server.asked.clear()
            with Tombstones(tmp_path / "t.jsonl", 100, clock=lambda: now[0]) as tombstones:
                got = server.fetch([f"http://a.test{path}" for path in routes], tombstones, retries=0)
            return dict(zip(routes, [item.reason for item in got], strict=True))

        reasons = {
            "/ok": "",
            "/gone": "http_410",
            "/down": "http_503",
            "/text": "not_an_image",
            "/broken": "unreadable",
        }
        assert run() == reasons
        assert sorted(server.paths()) == sorted(routes)
        now[0] = 99
        assert run() == reasons
        assert server.paths() == ["/ok"]
        now[0] = 100
        server.routes["/down"] = ok(PNG)
        assert run() == {**reasons, "/down": ""}
        assert sorted(server.paths()) == ["/down", "/ok"]


def test_a_signal_ends_it_at_once(tmp_path: Path) -> None:
    program = """
import sys
from mm1.curation.fetch import fetch, FetchConfig
port = int(sys.argv[1])
config = FetchConfig(allow_networks=("127.0.0.1/32",), ports=(port,))
print("begin", flush=True)
for _ in fetch([f"http://127.0.0.1:{port}/x"], config):
    pass
"""
    with Server({"/x": silence, "/robots.txt": answer(404)}) as server:
        command = [sys.executable, "-W", "error", "-c", program, str(server.port)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)) as process:
            while not server.paths():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert errors.decode().strip().endswith("KeyboardInterrupt")
    assert b"Warning" not in errors


def test_without_its_packages_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("aiohttp", "mm1.curation.fetch."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with (
        Server({}) as server,
        pytest.raises(UserError, match=r"downloading needs aiohttp.*: pip install 'mm1\[curate\]'"),
    ):
        fetch([], server.config())
