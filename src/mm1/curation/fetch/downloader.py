"""The loop of the downloader: takes turns from the schedule, sends requests, decides what a failure means.

    job ─ reads robots.txt ──> learn it, or close the host
        └ asks for the target ─> body: an outcome
                               ├ redirect: checked like a new address, queued with its host
                               └ failure: queued again after a while, or an outcome

One asyncio program; knows nothing of threads, tombstones or pixels.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from yarl import URL

from mm1.curation.fetch.client import Client
from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.failed import HOST_OUT_OF_REACH, TRY_AGAIN, Failed, is_permanent
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.guard import Resolve
from mm1.curation.fetch.robots import parse_robots
from mm1.curation.fetch.schedule import Job, Request, Schedule
from mm1.curation.fetch.urls import parse_url, resolve_location

ROBOTS_REDIRECTS = 5
"""As RFC 9309 has it."""


class Downloader:
    """Fetches what is added, until it is cancelled.

    Args:
        config: limits and manners.
        resolve: from a host name to its IP addresses.
        hand_over: takes each outcome. One with data holds a slot of `config.concurrency` until `release`.
    """

    def __init__(self, config: FetchConfig, resolve: Resolve, hand_over: Callable[[Fetched], None]) -> None:
        self._config = config
        self._resolve = resolve
        self._hand_over = hand_over
        self._schedule = Schedule(config)
        self._ports = config.all_ports
        self._slots = config.concurrency
        self._wake = asyncio.Event()

    def add(self, requests: Sequence[Request]) -> None:
        """Queues requests."""
        for request in requests:
            self._queue(request)
        self._wake.set()

    def release(self) -> None:
        """The bytes of an outcome are the caller's now."""
        self._slots += 1
        self._wake.set()

    async def run(self) -> None:
        """Never returns; cancelling it closes every connection. An error of our own ends it."""
        loop = asyncio.get_running_loop()
        async with Client(self._config, self._resolve) as client, asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                while self._slots and (job := self._schedule.take(loop.time())):
                    self._slots -= 1
                    tasks.create_task(self._work(client, job))
                when = self._schedule.next_time() if self._slots else None
                timer = loop.call_at(when, self._wake.set) if when is not None else None
                await self._wake.wait()
                if timer is not None:
                    timer.cancel()

    async def _work(self, client: Client, job: Job) -> None:
        holds_slot = False
        try:
            if job.reads_robots:
                await self._read_robots(client, job)
            else:
                holds_slot = await self._ask(client, job)
        finally:
            self._schedule.done(job)
            self._slots += not holds_slot
            self._wake.set()

    async def _ask(self, client: Client, job: Job) -> bool:
        """One try at a target; returns whether an outcome with data was handed over."""
        request = job.request
        try:
            if job.site.robots is not None and not job.site.robots.allows(request.target.raw_path_qs):
                raise Failed("robots")
            answer = await client.get(request.target, self._config.accept, bool(job.host.waiting))
            job.site.failures = 0
            if answer.location:
                self._queue(self._redirected(request, answer.location))
                return False
        except Failed as failure:
            self._fail(job, failure)
            return False
        self._hand_over(
            Fetched(
                request.url,
                answer.body,
                final_url=str(request.target),
                media_type=answer.media_type,
                charset=answer.charset,
            )
        )
        return True

    def _queue(self, request: Request, wait: float = 0.0) -> None:
        now = asyncio.get_running_loop().time()
        closed = self._schedule.add(request, now, now + wait)
        if closed:
            self._give_up(request, closed)

    def _give_up(self, request: Request, reason: str, final_url: str = "") -> None:
        self._hand_over(Fetched(request.url, reason=reason, permanent=is_permanent(reason), final_url=final_url))

    def _redirected(self, request: Request, location: str) -> Request:
        """The request for the address to which a server sent us on."""
        if request.redirects >= self._config.max_redirects:
            raise Failed("too_many_redirects")
        target = parse_url(resolve_location(location, request.target), self._ports)
        if request.target.scheme == "https" and target.scheme == "http" and not self._config.https_to_http:
            raise Failed("https_to_http")
        return Request(request.url, target, request.redirects + 1)

    def _fail(self, job: Job, failure: Failed) -> None:
        """Queues the request again where that may help, and hands over the failure where not."""
        request = job.request
        wait = max(failure.retry_after, self._backoff(request.url, request.tries))
        self._judge(job, failure, wait)
        if failure.reason in TRY_AGAIN and request.tries < self._config.retries and not job.site.closed:
            request.tries += 1
            self._queue(request, wait)
        else:
            self._give_up(request, failure.reason, str(request.target))

    def _judge(self, job: Job, failure: Failed, wait: float) -> None:
        """What the failure of one request means for the others of its site."""
        if failure.reason in HOST_OUT_OF_REACH:
            job.site.failures += 1
        else:
            job.site.failures = 0
        if failure.reason in ("no_such_host", "private_address"):
            self._close(job, failure.reason)
        elif job.site.failures >= self._config.host_failures:
            self._close(job, "host_down")
        elif failure.retry_after > self._config.max_backoff_seconds:
            self._close(job, "retry_later")
        elif failure.retry_after or failure.reason == "http_429":
            self._schedule.pause(job.host, asyncio.get_running_loop().time() + wait)

    def _close(self, job: Job, reason: str) -> None:
        for request in self._schedule.close(job, reason):
            self._give_up(request, reason)

    async def _read_robots(self, client: Client, job: Job) -> None:
        """Learns the rules of a site before anything else is asked of it."""
        loop = asyncio.get_running_loop()
        url = job.request.target.with_path("/robots.txt", encoded=True).with_query(None)
        try:
            robots = parse_robots(await self._follow(client, url), self._config.robots_names)
        except Failed as failure:
            self._robots_failed(job, failure, str(url))
            return
        self._schedule.learn(job, robots, loop.time())
        if robots.crawl_delay > self._config.max_crawl_delay_seconds:
            self._close(job, "crawl_delay")

    def _robots_failed(self, job: Job, failure: Failed, url: str) -> None:
        wait = max(failure.retry_after, self._backoff(url, job.site.robots_tries))
        may_pass = failure.reason in TRY_AGAIN and wait <= self._config.max_backoff_seconds
        if may_pass and job.site.robots_tries < self._config.retries:
            job.site.robots_tries += 1
            self._schedule.pause(job.host, asyncio.get_running_loop().time() + wait)
            return
        of_host = failure.reason in HOST_OUT_OF_REACH or failure.reason == "private_address"
        self._close(job, failure.reason if of_host else "robots_unreachable")

    async def _follow(self, client: Client, url: URL) -> bytes:
        """The text of a robots.txt; empty, which allows everything, where the server says that there is none."""
        for _ in range(ROBOTS_REDIRECTS + 1):
            try:
                answer = await client.get(url, "robots", more_to_come=True)
            except Failed as failure:
                if failure.reason.startswith("http_4") and failure.reason not in TRY_AGAIN:
                    return b""
                raise
            if not answer.location:
                return answer.body
            url = parse_url(resolve_location(answer.location, url), self._ports)
        return b""

    def _backoff(self, url: str, tries: int) -> float:
        """Seconds after so many failed tries: doubling, and half of it drawn by address, so that a herd spreads out."""
        longest = min(self._config.backoff_seconds * 2.0**tries, self._config.max_backoff_seconds)
        key = f"{self._config.seed}\n{tries}\n{url}".encode("utf-8", "replace")
        drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        return longest * (1 - drawn / 2)
