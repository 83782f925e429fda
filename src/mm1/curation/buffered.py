"""Rows that are gathered in memory and written together, by whoever writes them.

    class LineWriter(Buffered):
        def write_rows(self, rows): …

    with LineWriter(limit=1 << 20) as writer:
        writer.add_row({"id": "a"}, size=100)     # written when a megabyte has come together, and at the end

After an error the rows that are still in memory are dropped: the file is of no use. Knows nothing of files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self


class Buffered(ABC):
    """A context manager that holds about `limit` bytes of rows."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add_row(self, row: dict[str, Any], size: int) -> None:
        """A row that takes about `size` bytes."""
        self._rows.append(row)
        self._bytes += size
        if self._bytes >= self._limit:
            self._flush()

    @abstractmethod
    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Writes rows, at least one, which are the callee's from here on."""

    def close(self) -> None:  # noqa: B027  # most have something to close, and one has not
        """Called last, after an error too."""

    def _flush(self) -> None:
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            self.write_rows(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._flush()
        finally:
            self.close()
