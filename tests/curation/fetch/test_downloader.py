"""Manners: robots.txt, limits of a host, further tries."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mm1.curation.fetch import FetchConfig
from mm1.curation.fetch.downloader import Downloader
from mm1.curation.fetch.failed import Failed
from mm1.curation.fetch.schedule import Request
from mm1.curation.fetch.urls import parse_url
from tests.curation.fetch.misbehaving_server import PNG, RESET, Server, answer, ok

URL = "http://a.test/x"


@pytest.mark.parametrize(
    ("robots", "reason"),
    [
        (ok(b"User-agent: *\nDisallow: /x"), "robots"),
        (ok(b"User-agent: *\nDisallow: /\nAllow: /x"), ""),
        (ok(b"User-agent: GPTBot\nDisallow: /"), "robots"),
        (ok(b"\0\xff not one"), ""),
        (answer(404), ""),
        (answer(403), ""),
        (answer(500), "robots_unreachable"),
        (answer(429), "robots_unreachable"),
        (RESET, "robots_unreachable"),
        ([answer(503), ok(b"")], ""),
        ([RESET, answer(404)], ""),
        (answer(301, Location="/r"), ""),
        (answer(301, Location="/robots.txt"), ""),
        (answer(301, Location="http://127.0.0.2/robots.txt"), "private_address"),
        (ok(b"User-agent: *\nCrawl-delay: 31"), "crawl_delay"),
        (ok(b"User-agent: *\nDisallow: /x\n" + b"#" * 600_000), "robots"),
        (ok(b"#" * 600_000 + b"\nUser-agent: *\nDisallow: /x\n"), ""),
        (ok(b"User-agent: *\nDisallow: /x", X_Robots_Tag="noindex", Content_Type="text/html"), "robots"),
    ],
)
def test_robots_txt_is_obeyed(robots: bytes, reason: str) -> None:
    with Server({"/x": ok(PNG), "/robots.txt": robots, "/r": ok(b"User-agent: x\nDisallow: /")}) as server:
        [got] = server.fetch([URL], retries=1)
        assert got.reason == reason
        assert ("/x" in server.paths()) == (reason == "")
        assert got.permanent == (reason in ("robots", "private_address"))


def test_robots_txt_can_be_left_unasked() -> None:
    with Server({"/x": ok(PNG), "/robots.txt": ok(b"User-agent: *\nDisallow: /")}) as server:
        assert server.fetch([URL], robots=False)[0].data == PNG
        assert server.asked == [("a.test", "/x")]


def test_robots_txt_is_asked_once_for_each_host() -> None:
    with Server({"/x": ok(PNG)}) as server:
        server.fetch([f"http://{host}.test/x" for host in "aabbb"])
        assert sorted(host for host, path in server.asked if path == "/robots.txt") == ["a.test", "b.test"]


def test_what_robots_txt_forbids_is_forbidden_after_a_redirect_too() -> None:
    with Server({"/x": answer(302, Location="/private"), "/private": ok(PNG)}) as server:
        server.routes["/robots.txt"] = ok(b"User-agent: *\nDisallow: /private")
        assert server.fetch([URL])[0].reason == "robots"
        assert server.paths() == ["/x"]


async def slow() -> AsyncIterator[bytes]:
    await asyncio.sleep(0.02)
    yield ok(PNG)


@pytest.mark.parametrize("per_host", [1, 3])
def test_a_host_never_has_more_requests_than_allowed(per_host: int) -> None:
    with Server({f"/{number}": slow for number in range(15)}) as server:
        got = server.fetch([f"http://a.test/{number}" for number in range(15)], per_host=per_host, concurrency=64)
        assert all(item.data for item in got)
        assert server.peak == per_host


def test_all_hosts_together_never_have_more_requests_than_allowed() -> None:
    with Server({"/x": slow}) as server:
        gone = [f"http://g{number}.test/gone" for number in range(20)]
        server.fetch([*gone, *(f"http://h{number}.test/x" for number in range(20))], concurrency=5)
        assert server.peak == 5


@pytest.mark.parametrize("failure", [answer(500), answer(503), answer(429), answer(429, Retry_After="0"), RESET])
def test_a_temporary_failure_is_tried_again(failure: bytes) -> None:
    with Server({"/x": [failure, failure, ok(PNG)]}) as server:
        assert server.fetch([URL], retries=2)[0].data == PNG
        assert server.paths() == ["/x"] * 3


@pytest.mark.parametrize("failure", [answer(404), answer(501), answer(403), ok(b"text")])
def test_other_failures_are_not(failure: bytes) -> None:
    with Server({"/x": failure}) as server:
        assert server.fetch([URL], retries=2)[0].data is None
        assert server.paths() == ["/x"]


def test_tries_end() -> None:
    with Server({"/x": answer(500)}) as server:
        assert server.fetch([URL], retries=3)[0].reason == "http_500"
        assert server.paths() == ["/x"] * 4


@pytest.mark.parametrize("retry_after", ["3600", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_host_that_asks_for_a_long_pause_is_left_alone(retry_after: str) -> None:
    with Server({f"/{number}": answer(429, Retry_After=retry_after) for number in range(5)}) as server:
        got = server.fetch([f"http://a.test/{number}" for number in range(5)], per_host=1)
        assert [item.reason for item in got] == ["http_429", *["retry_later"] * 4]
        assert not any(item.permanent for item in got)
        assert server.paths() == ["/0"]


@pytest.mark.parametrize("retry_after", ["nonsense", "-5", "1e9", "Wed, 21 Oct 1999 07:28:00 GMT", "Wed, 99 Foo"])
def test_a_retry_after_that_says_nothing(retry_after: str) -> None:
    with Server({"/x": [answer(503, Retry_After=retry_after), ok(PNG)]}) as server:
        assert server.fetch([URL])[0].data == PNG


def test_a_host_that_fails_and_fails_is_given_up_and_one_that_recovers_is_not() -> None:
    def resolve(host: str) -> list[str]:
        if host == "down.test":
            raise OSError("no answer")
        return ["127.0.0.1"]

    with Server({"/x": ok(PNG)}) as server:
        urls = [f"http://{host}.test/{number}" for host in ("down", "up") for number in range(20)]
        got = server.fetch(urls, resolve=resolve, robots=False, host_failures=4, retries=0, per_host=1)
    assert [item.reason for item in got[:20]] == ["dns_failed"] * 4 + ["host_down"] * 16
    assert {item.reason for item in got[20:]} == {"http_404"}


def test_waits_double_up_to_a_bound_and_differ_by_address_and_seed() -> None:
    def waits(seed: int, url: str) -> list[float]:
        config = FetchConfig(seed=seed, backoff_seconds=2, max_backoff_seconds=10)
        downloader = Downloader(config, lambda host: [], print)
        return [downloader._backoff(url, tries) for tries in range(5)]

    for wait, longest in zip(waits(0, URL), [2, 4, 8, 10, 10], strict=True):
        assert longest / 2 <= wait <= longest
    assert waits(0, URL) == waits(0, URL) != waits(1, URL) != waits(1, URL + "y")


@pytest.mark.parametrize(("allowed", "target"), [(False, ""), (True, "http://b.test/")])
def test_https_is_left_for_http_only_where_that_is_allowed(allowed: bool, target: str) -> None:
    downloader = Downloader(FetchConfig(https_to_http=allowed), lambda host: [], print)
    request = Request("x", parse_url("https://a.test/x"))
    assert str(downloader._redirected(request, "https://b.test/").target) == "https://b.test/"
    if allowed:
        assert str(downloader._redirected(request, target).target) == target
    else:
        with pytest.raises(Failed, match="https_to_http"):
            downloader._redirected(request, "http://b.test/")


@pytest.mark.parametrize(
    ("failure", "shortest"), [(Failed("http_429", 7.0), 7.0), (Failed("http_429"), 1.0), (Failed("http_500"), 0.0)]
)
def test_a_host_that_asks_for_a_short_pause_gets_it_whole(failure: Failed, shortest: float) -> None:
    async def pause() -> float:
        config = FetchConfig(robots=False, host_delay_seconds=0, backoff_seconds=2)
        downloader = Downloader(config, lambda host: [], print)
        downloader.add([Request(URL, parse_url(URL))])
        now = asyncio.get_running_loop().time()
        job = downloader._schedule.take(now)
        assert job is not None
        downloader._fail(job, failure)
        return job.host.next_time - now

    assert shortest <= asyncio.run(pause()) < shortest + 3
