"""A server for tests that says whatever it is told to, byte by byte, and remembers how it was asked.

    with Server({"/cat.png": ok(PNG)}) as server:
        [got] = server.fetch(["http://a.test/cat.png"])

Every host name leads to it, unless a test resolves names otherwise.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from PIL import Image

from mm1.curation.fetch import FetchConfig, Fetched, Tombstones, fetch

Body: TypeAlias = "bytes | Callable[[], AsyncIterator[bytes]]"
RESET = b"\0reset"
"""Sent by no one: the connection is torn down instead."""


def picture(width: int = 120, height: int = 100, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, file_format)
    return buffer.getvalue()


PNG = picture()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; `Retry_After="1"` is the header Retry-After: 1."""
    lines = [f"HTTP/1.1 {status} X"]
    lines += [
        f"{key.replace('_', '-')}: {value}" for key, value in ({"Content_Length": str(len(body))} | headers).items()
    ]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def ok(body: bytes, **headers: str) -> bytes:
    return answer(200, body, **headers)


class Server:
    """Answers by path; a list of answers is used up one by one, its last one again and again."""

    def __init__(self, routes: dict[str, Any]) -> None:
        self.routes = {"/robots.txt": answer(404), **routes}
        self.asked: list[tuple[str, str]] = []
        """Host (without port) and path of every request, in order."""
        self.headers: list[dict[str, str]] = []
        self.active = 0
        self.peak = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Server:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = starting.result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                path = first.split(" ")[1]
                self.asked.append((headers["host"].split(":")[0], path))
                self.headers.append(headers)
                self.active += 1
                self.peak = max(self.peak, self.active)
                try:
                    await self._answer(path, writer)
                finally:
                    self.active -= 1
        writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        route = self.routes.get(path, answer(404))
        if isinstance(route, list):
            route = route.pop(0) if len(route) > 1 else route[0]
        if isinstance(route, bytes):
            if route == RESET:
                writer.transport.abort()
            else:
                writer.write(route)
                await writer.drain()
            return
        async for chunk in route():
            writer.write(chunk)
            await writer.drain()
        writer.close()

    def config(self, **changes: Any) -> FetchConfig:
        """Quick, and allowed to ask this server, but no other on this machine."""
        return FetchConfig(
            **{
                "allow_networks": ("127.0.0.1/32",),
                "ports": (self.port,),
                "host_delay_seconds": 0,
                "backoff_seconds": 0.01,
                **changes,
            }
        )

    def url(self, text: str) -> str:
        """With this server's port: http://a.test/x."""
        scheme, _, rest = text.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host}:{self.port}{slash}{path}"

    def fetch(
        self,
        urls: Iterable[str],
        tombstones: Tombstones | None = None,
        resolve: Callable[[str], Sequence[str]] = lambda host: ["127.0.0.1"],
        **changes: Any,
    ) -> list[Fetched]:
        """Outcomes in the order of the addresses, whose port is this server's."""
        urls = [self.url(url) for url in urls]
        outcomes = list(fetch(urls, self.config(**changes), tombstones, resolve))
        assert sorted(outcome.url for outcome in outcomes) == sorted(urls)
        return sorted(outcomes, key=lambda outcome: urls.index(outcome.url))

    def paths(self, host: str = "") -> list[str]:
        """What was asked, robots.txt left out."""
        return [path for name, path in self.asked if path != "/robots.txt" and host in ("", name)]
