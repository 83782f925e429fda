"""The downloader as a plain iterator.

Importing it needs no package beyond mm1's own; calling it needs the extra `curate`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence

from mm1.config import UserError
from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.tombstones import Failures


def system_resolve(host: str) -> list[str]:
    """The IP addresses that this machine's resolver knows for a name; raises OSError where there are none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def fetch(
    urls: Iterable[str],
    config: FetchConfig,
    tombstones: Failures | None = None,
    resolve: Callable[[str], Sequence[str]] = system_resolve,
) -> Iterator[Fetched]:
    """Asks for every address and yields one outcome for each, in the order in which they come: sort them if it matters.

    Memory: at most `config.max_waiting` addresses and `config.concurrency` bodies. While the caller does not take
    outcomes, nothing further is asked. Give all addresses of a host to one process: limits per host hold within one.
    An address that comes twice is asked for twice. Leaving the iterator, by a break or a signal, closes everything.

    Args:
        urls: absolute addresses; what is none becomes an outcome with a reason. Read in the caller's thread.
        config: limits and manners.
        tombstones: failures of earlier runs, which are answered from the record; new ones are added to it.
        resolve: from a host name to its IP addresses, for tests; called in threads.

    Raises:
        UserError: the extra `curate` is not installed.
    """
    try:
        from mm1.curation.fetch.background import outcomes
    except ModuleNotFoundError as missing:
        raise UserError(f"downloading needs {missing.name}: pip install 'mm1[curate]'") from None
    return outcomes(urls, config, tombstones, resolve)
