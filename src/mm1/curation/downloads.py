r"""What was downloaded stays: a log of addresses and bytes, beside the record of those that gave nothing.

    with Downloads(folder, FetchConfig()) as store:
        for got in store.download(urls): …        # from the log, from the record of failures, or from the network

    folder/bytes.log           {"url": …, "size": 5}\n12345{"url": …}\n…     one after the other, only ever appended to
    folder/tombstones.jsonl    fetch/tombstones.py

No address is asked twice, whatever rules change and however a run ended: a torn last entry is cut off when the log is
opened next. In memory are the places of the log's entries. Knows nothing of what is in the bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from mm1.curation.fetch import FetchConfig, Fetched, Tombstones, fetch
from mm1.curation.lookups import key_of
from mm1.steps import locked

_LONGEST_HEADER = 1 << 20


class Downloads:
    """The downloads in one folder; a context manager, and one process at a time has it."""

    def __init__(self, folder: Path, config: FetchConfig) -> None:
        self._folder, self._config = folder, config
        self._places: dict[int, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> Downloads:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open.enter_context(locked(self._folder / "lock", "downloads", wait=True))
        path = self._folder / "bytes.log"
        path.touch()
        self._log = self._open.enter_context(path.open("r+b"))
        self._log.truncate(self._load())
        again = self._config.retry_temporary_after_seconds
        self._tombstones = self._open.enter_context(Tombstones(self._folder / "tombstones.jsonl", again))
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
        try:
            values = json.loads(line)
            length = values.pop("size")
            return Fetched(**values), self._log.tell(), length
        except (ValueError, KeyError, TypeError, AttributeError):  # a machine that failed has left rubbish
            return None

    def download(self, urls: Iterable[str]) -> Iterator[Fetched]:
        """One outcome for each address: first those that are there, then what comes, as it comes."""
        missing: list[str] = []
        for url in urls:
            place = self._places.get(key_of(url))
            if place is None:
                missing.append(url)
            else:
                yield self._stored(place)
        for got in fetch(missing, self._config, self._tombstones):
            self._append(got)
            yield got

    def recall(self, urls: Iterable[str]) -> Iterator[Fetched]:
        """As `download`, and nobody is asked: what is not there is `offline`."""
        for url in urls:
            place = self._places.get(key_of(url))
            yield Fetched(url, reason="offline") if place is None else self._stored(place)

    def _stored(self, place: int) -> Fetched:
        found = self._read_header(place)
        assert found is not None
        got, _, length = found
        return replace(got, data=self._log.read(length))

    def _append(self, got: Fetched) -> None:
        if got.data is None or key_of(got.url) in self._places:
            return
        values = {"url": got.url, "size": len(got.data), "final_url": got.final_url}
        values |= {"media_type": got.media_type, "charset": got.charset}
        place = self._log.seek(0, os.SEEK_END)
        self._log.write(json.dumps(values).encode() + b"\n" + got.data)
        self._log.flush()
        self._places[key_of(got.url)] = place
