"""A loop in a thread of its own; addresses go in and outcomes come out in the caller's.

    caller's thread                                   the loop's thread
    urls ─ parse_url, tombstones ─> batches ────────> Downloader
    Fetched <─ header's pixels, tombstones <─ queue <─┘

The caller may take its time (decoding, say) while the network goes on, up to the bounds of the config. Knows nothing of
HTTP.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from types import TracebackType

from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.downloader import Downloader
from mm1.curation.fetch.failed import Failed, is_permanent
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.guard import Resolve
from mm1.curation.fetch.schedule import Request
from mm1.curation.fetch.tombstones import Failures
from mm1.curation.fetch.urls import parse_url
from mm1.data.image import BadImage, check_header

_BATCH = 256


def outcomes(
    urls: Iterable[str], config: FetchConfig, tombstones: Failures | None, resolve: Resolve
) -> Iterator[Fetched]:
    """What `mm1.curation.fetch.fetch` promises."""
    source, more, pending = iter(urls), True, 0
    ports = config.all_ports
    with _Background(config, resolve) as background:
        while more or pending:
            room = min(_BATCH, config.max_waiting - pending)
            if more and room:
                batch = list(islice(source, room))
                more = bool(batch)
                asked = [_prepare(url, ports, tombstones) for url in batch]
                requests = [item for item in asked if isinstance(item, Request)]
                pending += len(requests)
                background.add(requests)
                yield from (item for item in asked if isinstance(item, Fetched))
            while pending:
                outcome = background.take(wait=not more or pending >= config.max_waiting)
                if outcome is None:
                    break
                pending -= 1
                if config.accept == "image":
                    outcome = _check_pixels(outcome, config.max_pixels)
                if tombstones is not None:
                    tombstones.record(outcome)
                yield outcome


def _prepare(url: str, ports: tuple[int, ...], tombstones: Failures | None) -> Request | Fetched:
    """What is to be asked, or an outcome that needs no network."""
    try:
        target = parse_url(url, ports)
    except Failed as failure:
        return Fetched(url, reason=failure.reason, permanent=True)
    remembered = tombstones.recall(url) if tombstones is not None else None
    return remembered or Request(url, target)


def _check_pixels(outcome: Fetched, max_pixels: int) -> Fetched:
    """In the caller's thread, for what Pillow is guarded by (warnings as errors) holds for the whole process."""
    if outcome.data is None:
        return outcome
    try:
        check_header(outcome.data, max_pixels)
    except BadImage as error:
        return replace(outcome, data=None, reason=error.reason, permanent=is_permanent(error.reason))
    return outcome


class _Background:
    """A thread with an event loop that runs a Downloader; a context manager that ends both."""

    def __init__(self, config: FetchConfig, resolve: Resolve) -> None:
        self._outcomes: queue.SimpleQueue[Fetched | BaseException] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._downloader = Downloader(config, resolve, self._outcomes.put)
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def add(self, requests: list[Request]) -> None:
        if requests:
            self._loop.call_soon_threadsafe(self._downloader.add, requests)

    def take(self, wait: bool) -> Fetched | None:
        """The next outcome; None where there is none yet and `wait` is false. An error of the loop is raised here."""
        try:
            outcome = self._outcomes.get(wait)
        except queue.Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome.data is not None:
            self._loop.call_soon_threadsafe(self._downloader.release)
        return outcome

    def __enter__(self) -> _Background:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._downloader.run())
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:  # of the loop's tasks, which the first error has ended
            self._outcomes.put(group.exceptions[0])
        except BaseException as error:
            self._outcomes.put(error)

    def _stop(self) -> None:
        if self._main is not None:
            self._main.cancel()
