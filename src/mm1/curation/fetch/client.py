"""One HTTP request to a guarded address: no redirect is followed, no body grows beyond its limit.

    async with Client(config, resolve) as client:
        answer = await client.get(url, "image")      # Answer(body=…) or Answer(location=…), or Failed("too_slow")

Addresses are checked twice: what a name resolves to, and the very socket address that is about to be connected to, so
nothing can change in between. No proxy, no cookie, no netrc. Knows nothing of turns, retries or robots.txt.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType

import aiohttp
from yarl import URL

from mm1.config import UserError
from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.content import START_BYTES, Kind, Unpacker, check_start
from mm1.curation.fetch.failed import Failed
from mm1.curation.fetch.guard import GuardedResolver, NotPublic, Resolve, guarded_sockets
from mm1.curation.fetch.opt_out import page_refusal, refusal
from mm1.curation.fetch.robots import MAX_BYTES as MAX_ROBOTS_BYTES

_ACCEPT = {"image": "image/*", "html": "text/html,application/xhtml+xml;q=0.9", "robots": "text/plain,*/*;q=0.5"}
_REDIRECTS = (301, 302, 303, 307, 308)
_SMALL = 16_384
"""A body of an error or a redirect that is read to its end, so that the connection can be used again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: a body, or where to go."""

    body: bytes = b""
    media_type: str = ""
    charset: str = ""
    location: str = ""
    """Of a redirect, as it was sent; empty otherwise."""


class Client:
    """Sends requests; a context manager that leaves no connection open."""

    def __init__(self, config: FetchConfig, resolve: Resolve) -> None:
        self._config = config
        networks = tuple(ipaddress.ip_network(text) for text in config.allow_networks)
        timeout = aiohttp.ClientTimeout(
            total=config.total_timeout_seconds,
            connect=config.connect_timeout_seconds,
            sock_read=config.read_timeout_seconds,
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=1 + 2 * config.host_delay_seconds,  # idle ones are open files too
                resolver=GuardedResolver(resolve, networks),
                socket_factory=guarded_sockets(networks),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=timeout,
            headers={"User-Agent": config.user_agent},
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: URL, kind: Kind, more_to_come: bool = False) -> Answer:
        """Asks for `url`, which `parse_url` made, and reads the body while it is what was asked for.

        Args:
            url: the address.
            kind: what it should give.
            more_to_come: whether the host will be asked again soon; its connection is closed where not.

        Raises:
            UserError: this machine has no more open files to give.
            Failed: for every way in which the network, the server or the body is not as it should be.
        """
        headers = {"Accept": _ACCEPT[kind], "Accept-Encoding": "gzip, deflate" if kind == "html" else "identity"}
        headers["Connection"] = "keep-alive" if more_to_come else "close"
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                return await self._read(response, kind)
        except (aiohttp.ClientError, OSError, ValueError, EOFError, asyncio.IncompleteReadError) as error:
            raise Failed(_reason(error)) from None

    async def _read(self, response: aiohttp.ClientResponse, kind: Kind) -> Answer:
        status = response.status
        location = response.headers.get("Location", "") if status in _REDIRECTS else ""
        if status != 200:
            if (response.content_length or _SMALL + 1) <= _SMALL:
                await response.read()
            if location:
                return Answer(location=location)
            raise Failed(f"http_{status}", _retry_after(response.headers.get("Retry-After", "")))
        refused = refusal(response.headers.items(), self._config) if kind != "robots" else ""
        if refused:
            raise Failed(refused)
        body = await self._read_body(response, kind)
        refused = page_refusal(body, self._config) if kind == "html" else ""
        if refused:
            raise Failed(refused)
        return Answer(body, _media_type(response), _charset(response))

    async def _read_body(self, response: aiohttp.ClientResponse, kind: Kind) -> bytes:
        limit = MAX_ROBOTS_BYTES if kind == "robots" else self._config.max_bytes
        if (response.content_length or 0) > limit and kind != "robots":
            raise Failed("too_large")
        encoding = response.headers.get("Content-Encoding", "")
        unpacker = Unpacker(encoding, limit)
        media_type, started = _media_type(response), False
        begin, received = time.monotonic(), 0
        async for chunk in response.content.iter_any():
            received += len(chunk)
            seconds = time.monotonic() - begin
            if seconds > self._config.read_timeout_seconds and received < seconds * self._config.min_bytes_per_second:
                raise Failed("too_slow")
            if received > limit:
                if kind == "robots":
                    break
                raise Failed("too_large")
            unpacker.feed(chunk)
            if not started and unpacker.size >= START_BYTES:
                started = True
                check_start(unpacker.start(START_BYTES), kind, media_type)
        body = unpacker.result()
        if not started:
            check_start(body[:START_BYTES], kind, media_type)
        return body


def _reason(error: Exception) -> str:
    """The one word for what went wrong, from the most special to the most general."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise UserError("too many open files: lower the downloader's concurrency, or raise `ulimit -n`") from None
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, NotPublic):
            return "private_address"
        if isinstance(cause, socket.gaierror) and cause.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return "no_such_host"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return "dns_failed"
    reasons: list[tuple[tuple[type[Exception], ...], str]] = [
        ((NotPublic,), "private_address"),
        ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
        ((aiohttp.ConnectionTimeoutError,), "connect_timeout"),
        ((TimeoutError,), "timeout"),
        ((aiohttp.ClientConnectorError,), "connection_failed"),
        ((aiohttp.ClientPayloadError, EOFError), "truncated"),
        ((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, OSError), "connection_lost"),
        ((aiohttp.InvalidURL,), "bad_url"),
    ]
    return next((reason for kinds, reason in reasons if isinstance(error, kinds)), "bad_response")


def _retry_after(value: str) -> float:
    """Seconds, from either form of the header; 0 where it says nothing that can be understood."""
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def _media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()[:100]


def _charset(response: aiohttp.ClientResponse) -> str:
    match = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", response.headers.get("Content-Type", ""), re.I)
    return match[1].lower() if match else ""
