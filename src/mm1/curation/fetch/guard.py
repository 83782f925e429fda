"""The two doors to the network: what a name leads to, and which address a socket may connect to.

    TCPConnector(resolver=GuardedResolver(resolve, ()), socket_factory=guarded_sockets(()))

A name may resolve to one address when it is looked up and to another one later; what counts is the address in the
socket's hand, so it is checked there again. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from mm1.curation.fetch.addresses import Network, is_allowed

Resolve: TypeAlias = Callable[[str], Sequence[str]]
"""From a host name to its IP addresses; it may block, and raises OSError where there are none."""


class NotPublic(OSError):
    """An address inside: it is not connected to."""


class GuardedResolver(AbstractResolver):
    """Looks names up in threads that nobody waits for, and keeps only the addresses that may be asked."""

    def __init__(self, resolve: Resolve, networks: Sequence[Network]) -> None:
        self._resolve = resolve
        self._networks = networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await _in_daemon_thread(self._resolve, host)
        allowed = [address for address in found if is_allowed(address, self._networks)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if not allowed:
            raise NotPublic(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in allowed
        ]

    async def close(self) -> None:
        pass


async def _in_daemon_thread(call: Resolve, host: str) -> Sequence[str]:
    """`call(host)` in a thread of its own: a look-up cannot be cancelled, and must not keep the program from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(found: Sequence[str], error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def look_up() -> None:
        found: Sequence[str] = ()
        error: Exception | None = None
        try:
            found = call(host)
        except UnicodeError as raised:  # a name that the system's own encoding refuses
            error = OSError(str(raised))
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(settle, found, error)

    threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    return await future


def guarded_sockets(networks: Sequence[Network]) -> Callable[[AddrInfoType], socket.socket]:
    """The last door: makes a socket for an address that may be connected to."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = info
        if not is_allowed(str(where[0]), networks):
            raise NotPublic(str(where[0]))
        return socket.socket(family, kind, protocol)

    return make
