"""A durable record of the addresses that gave nothing, so that a later run does not ask them again.

    {"url": "https://a.example/x.png", "reason": "http_404", "permanent": true, "time": 1767225600}

One line of JSON a failure, appended before the outcome is handed on: a file that is only ever appended to survives a
kill at any moment (a torn last line is cut off when it is opened next), needs no locks on network folders, and can be
read with grep. In memory an address is a 16-byte digest. One process writes a file at a time. What was fetched is not
here: that is with whoever stored it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from mm1.curation.fetch.fetched import Fetched
from mm1.curation.funnel import REASON


class Failures(Protocol):
    """What a download asks of a record, and tells it."""

    def recall(self, url: str) -> Fetched | None: ...
    def record(self, outcome: Fetched) -> None: ...


class Tombstones:
    """The record in one file, which is made where it is not there.

    Args:
        path: the file; its folder must be there.
        retry_temporary_after_seconds: how old a temporary failure must be to be asked again.
        clock: seconds since 1970; a test's own.

    Raises:
        OSError: the file can be neither read nor written.
    """

    def __init__(
        self, path: Path, retry_temporary_after_seconds: float = 86_400.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._retry_after = retry_temporary_after_seconds
        self._clock = clock
        self._found: dict[bytes, tuple[str, bool, float]] = {}
        end = self._load(path) if path.exists() else 0
        self._file = path.open("ab")
        self._file.truncate(end)

    def _load(self, path: Path) -> int:
        """Reads the whole lines and returns where they end; a later line about an address replaces an earlier one."""
        end = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                found = _parsed(line)
                if found is not None:  # a line that a disk spoilt costs one more request, and nothing else
                    self._found[_digest(found[0])] = found[1:]
        return end

    def recall(self, url: str) -> Fetched | None:
        """The failure on record for `url`, if it still holds; None where it is to be asked."""
        found = self._found.get(_digest(url))
        if found is None:
            return None
        reason, permanent, when = found
        if not permanent and self._clock() - when >= self._retry_after:
            return None
        return Fetched(url, reason=reason, permanent=permanent)

    def record(self, outcome: Fetched) -> None:
        """Appends a failure; what has data is not recorded."""
        if outcome.data is not None:
            return
        now = round(self._clock(), 3)
        self._found[_digest(outcome.url)] = (outcome.reason, outcome.permanent, now)
        entry = {"url": outcome.url, "reason": outcome.reason, "permanent": outcome.permanent, "time": now}
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Puts the record on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> Tombstones:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _parsed(line: bytes) -> tuple[str, str, bool, float] | None:
    """Address, reason, whether for good, and when; None where the line does not say it."""
    try:
        entry = json.loads(line)
        found = entry["url"], entry["reason"], bool(entry["permanent"]), float(entry["time"] + 0)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = all(isinstance(text, str) for text in found[:2]) and REASON.fullmatch(found[1])
    return found if sound else None


def _digest(url: str) -> bytes:
    return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()
