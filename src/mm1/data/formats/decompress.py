"""Compressed files that give every byte before the place where they were cut off or damaged.

    io.BufferedReader(Gunzipped(path.open("rb")))     # members one after another, zeros between and after them
    io.BufferedReader(Unzstd(path))                   # frames one after another, skippable ones among them

Reading in large pieces, as decoders of libraries do, loses the piece in which the damage stands: of a small file, all
of it. The end of what can be read is told by EOFError (cut off) or by the decoder's own error. Knows nothing of what
the bytes mean.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

PIECE = 1 << 16
"""Bytes that are asked for at once."""

_STEPS = (PIECE, 1 << 10, 1)
"""How much is asked for at once, then at the end of what can be read."""


class Gunzipped(io.RawIOBase):
    """The content of the gzip file `source`, which is closed with this.

    Raises:
        EOFError: cut off.
        zlib.error: damaged, or followed by something else.
    """

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__()
        self._source = source
        self._member = zlib.decompressobj(wbits=31)
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._member.eof or self._begin_member():
            data = self._member.decompress(self._pending, len(buffer))
            self._pending = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not self._pending and not self._member.eof:
                self._pending = self._source.read(PIECE)
                if not self._pending:
                    raise EOFError("cut off")
        return 0

    def _begin_member(self) -> bool:
        """Whether another member follows; tapes and tars fill up with zeros."""
        while not (begin := self._pending.lstrip(b"\0")):
            self._pending = self._source.read(PIECE)
            if not self._pending:
                return False
        self._member, self._pending = zlib.decompressobj(wbits=31), begin
        return True

    def close(self) -> None:
        self._source.close()
        super().close()


class Unzstd(io.RawIOBase):
    """The content of the zstd file `path`.

    Arrow's decoder throws away what it was asked for in the call that fails; then the file is opened anew, and asked in
    smaller steps from there. Costs two more passes over a file that is damaged, nothing over a whole one.

    Raises:
        OSError: without a number, damaged or cut off; it says which.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._steps = list(_STEPS)
        self._given = 0
        self._decoder = self._opened()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                data: bytes = self._decoder.read(min(len(buffer), self._steps[0]))
            except OSError as error:
                if error.errno is not None or len(self._steps) == 1:
                    raise
                del self._steps[0]
                self._decoder.close()
                self._decoder = self._opened()
                self._skip()
                continue
            self._given += len(data)
            buffer[: len(data)] = data
            return len(data)

    def close(self) -> None:
        self._decoder.close()
        super().close()

    def _opened(self) -> pa.NativeFile:
        return pa.input_stream(str(self._path), compression="zstd")

    def _skip(self) -> None:
        left = self._given
        while left:
            left -= len(self._decoder.read(min(left, PIECE)))
