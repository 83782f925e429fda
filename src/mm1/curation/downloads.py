r"""What was downloaded stays: logs of addresses and bytes, beside the records of those that gave nothing.

    with Downloads(folder, FetchConfig()) as store:
        for got in store.download(urls): …        # from a log, from a record of failures, or from the network

    folder/SHELF/bytes.log           {"size": 5, "url": …}\n12345{"size": …}\n…     only ever appended to
    folder/SHELF/tombstones.jsonl    fetch/tombstones.py

Which shelf an address belongs on is the caller's to say, so that many can be asked for together and still be found by
whoever asks for some of them later. No address is asked twice, whatever rules change and however a run ended: a torn
last entry is cut off when its log is opened next. In memory are the places of the logs' entries. Knows nothing of what
is in the bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from mm1.curation.fetch import FetchConfig, Fetched, Tombstones, fetch
from mm1.curation.lookups import key_of
from mm1.curation.sources import bucket_of
from mm1.steps import locked

_LONGEST_HEADER = 1 << 20
_TEXTS = ("url", "final_url", "media_type", "charset")
"""What an entry's header says beside the number of bytes."""


def by_host(buckets: int) -> Callable[[str], str]:
    """Shelves by the hosts of addresses, over so many: whoever asks, and whatever list named them, finds them again."""
    return lambda url: f"bucket-{bucket_of(url, buckets):05d}"


class Downloads:
    """The downloads in one folder; a context manager.

    Args:
        folder: of the shelves.
        config: how to fetch.
        shelf_of: the name of an address's shelf, always the same; "" is the folder itself. A shelf is opened with its
            first address, and one process at a time has it: others wait.
    """

    def __init__(self, folder: Path, config: FetchConfig, shelf_of: Callable[[str], str] = lambda url: "") -> None:
        self._folder, self._config, self._shelf_of = folder, config, shelf_of
        self._shelves: dict[str, _Shelf] = {}
        self._open = ExitStack()

    def __enter__(self) -> Downloads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _shelf(self, name: str) -> _Shelf:
        if name not in self._shelves:
            again = self._config.retry_temporary_after_seconds
            self._shelves[name] = self._open.enter_context(_Shelf(self._folder / name, again))
        return self._shelves[name]

    def _of(self, url: str) -> _Shelf:
        return self._shelf(self._shelf_of(url))

    def download(self, urls: Iterable[str]) -> Iterator[Fetched]:
        """One outcome for each address: first those that are there, then what comes, as it comes."""
        urls = list(urls)
        for name in sorted(set(map(self._shelf_of, urls))):  # in one order, so that no two processes wait in a ring
            self._shelf(name)
        missing: list[str] = []
        for url in urls:
            if (got := self._of(url).find(url)) is None:
                missing.append(url)
            else:
                yield got
        for got in fetch(missing, self._config, self):
            self._of(got.url).append(got)
            yield got

    def recall(self, url: str) -> Fetched | None:
        """The failure on record (`Failures`)."""
        return self._of(url).tombstones.recall(url)

    def record(self, outcome: Fetched) -> None:
        """Remembers a failure (`Failures`)."""
        self._of(outcome.url).tombstones.record(outcome)

    def stored(self, urls: Iterable[str]) -> Iterator[Fetched]:
        """As `download`, and nobody is asked: what is not there is `offline`."""
        for url in urls:
            yield self._of(url).find(url) or Fetched(url, reason="offline")


class _Shelf:
    """One log and one record; a context manager."""

    def __init__(self, folder: Path, retry_temporary_after_seconds: float) -> None:
        self._folder, self._again = folder, retry_temporary_after_seconds
        self._places: dict[int, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> _Shelf:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open.enter_context(locked(self._folder / "lock", "downloads", wait=True))
        path = self._folder / "bytes.log"
        path.touch()
        self._log = self._open.enter_context(path.open("r+b"))
        self._log.truncate(self._load())
        self.tombstones = self._open.enter_context(Tombstones(self._folder / "tombstones.jsonl", self._again))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.flush()
        os.fsync(self._log.fileno())
        self._open.close()

    def _load(self) -> int:
        """Finds the places of all whole entries; returns where they end."""
        size, place = os.fstat(self._log.fileno()).st_size, 0
        while (found := self._read_header(place)) is not None:
            got, start, length = found
            if start + length > size:
                break
            self._places[key_of(got.url)] = place
            place = start + length
        return place

    def _read_header(self, place: int) -> tuple[Fetched, int, int] | None:
        """What is said of the entry at a place, and from where its bytes go how far; None where no whole entry is."""
        self._log.seek(place)
        line = self._log.readline(_LONGEST_HEADER)
        if not line.endswith(b"\n"):
            return None
        found = _parsed(line)
        return None if found is None else (found[0], self._log.tell(), found[1])

    def find(self, url: str) -> Fetched | None:
        """What the log has of an address."""
        place = self._places.get(key_of(url))
        if place is None:
            return None
        found = self._read_header(place)
        assert found is not None
        got, _, length = found
        return replace(got, data=self._log.read(length))

    def append(self, got: Fetched) -> None:
        """Adds what has bytes to the log."""
        if got.data is None or key_of(got.url) in self._places:
            return
        values = {"size": len(got.data)} | {name: getattr(got, name) for name in _TEXTS}
        place = self._log.seek(0, os.SEEK_END)
        self._log.write(json.dumps(values).encode() + b"\n" + got.data)
        self._log.flush()
        self._places[key_of(got.url)] = place


def _parsed(line: bytes) -> tuple[Fetched, int] | None:
    """What the header of an entry says: the outcome without its bytes, and their number; None where it says neither."""
    try:
        entry = json.loads(line)
        length, texts = entry["size"], [entry[name] for name in _TEXTS]
    except (ValueError, KeyError, TypeError, RecursionError):  # a machine that failed has left rubbish
        return None
    if type(length) is not int or length < 0 or not all(isinstance(text, str) for text in texts):
        return None
    return Fetched(**dict(zip(_TEXTS, texts, strict=True))), length
