"""The downloader as a plain iterator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.tombstones import Tombstones


def fetch(urls: Iterable[str], config: FetchConfig, tombstones: Tombstones | None = None) -> Iterator[Fetched]:
    """Asks for every address and yields one outcome for each, as they come in: the order is no property of the input.

    Memory: at most `config.max_waiting` addresses and `config.concurrency` bodies; while the caller does not take
    outcomes, nothing further is asked. Give all addresses of a host to one process: limits per host hold within one.
    """
    raise NotImplementedError
    yield
