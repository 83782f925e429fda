"""The records of a WARC file as bytes, one at a time, exact about what is cut off or damaged.

    for record in records(Path("crawl.warc.gz"), limit=1 << 20): …     # Record, or Dropped where the file is damaged

    file  →  decompressed chunks, SOUND, Fault  →  a window that slides over them  →  header + Content-Length bytes

Whole records before a cut come out whole; each damaged place is one Dropped, and reading goes on behind it: at the next
gzip member, or the next line that begins a record. A record at whose end the checksum of its gzip member is wrong or
missing is damaged too. Parsers that read ahead stop silently at a cut and believe such records, which is why the frames
are found here. Knows the frame of a record alone: nothing of HTTP.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from mm1.curation.page import Dropped

_CHUNK = 1 << 18
_MAX_HEADER = 1 << 16
_GZIP, _ZSTD, _LZ4 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"
_BEGINNING = b"WARC/"
_BLANK = re.compile(rb"[\r\n]+")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_HEADER_END_BYTES = 4
"""Of the longest."""
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_NEXT_RECORD = re.compile(rb"WARC/1\.\d\r?\n(?=[\w-]+:)")


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a WARC."""

    offset: int
    """Of its first byte in the decompressed file."""
    header: bytes
    """With the empty line that ends it."""
    block: bytes | None
    """None where it is longer than the limit."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The bytes can not be read on from here; those that follow are of a later place."""

    reason: str


SOUND = b""
"""Among chunks: the checksum of all before it was right."""


def records(path: Path, limit: int) -> Iterator[Record | Dropped]:
    """The records of a file: truncated_record, damaged_record are drops, one for each damaged place.

    Args:
        path: Plain, or compressed as gzip (of records, as crawlers write it, or whole), zstd or lz4.
        limit: Bytes of a block that are held; a longer one is read past.
    """
    with path.open("rb") as file:
        window = _Window(_decompressed(file, path))
        while window.skip_blank_lines():
            record = _next_record(window, limit)
            if isinstance(record, Record) and not window.is_sound():
                record = Dropped(window.ending)
            yield record
            if isinstance(record, Dropped):
                window.go_on_behind_damage()


def _next_record(window: _Window, limit: int) -> Record | Dropped:
    offset = window.offset
    if not window.hold(1):
        return Dropped(window.ending)
    if not window.hold(len(_BEGINNING)) and _BEGINNING.startswith(window.peek()):
        return Dropped(window.ending)
    if not window.peek().startswith(_BEGINNING):
        return Dropped("damaged_record")
    size = window.header_size()
    if size is None:
        return Dropped("damaged_record" if window.hold(_MAX_HEADER) else window.ending)
    header = window.take(size)
    length = _LENGTH.search(header)
    if length is None:
        return Dropped("damaged_record")
    if int(length[1]) > limit:
        return Record(offset, header, None) if window.skip(int(length[1])) else Dropped(window.ending)
    if not window.hold(int(length[1])):
        return Dropped(window.ending)
    return Record(offset, header, window.take(int(length[1])))


class _Window:
    """The bytes that were read and not yet taken. It ends at the file's end and at each fault."""

    def __init__(self, chunks: Iterator[bytes | Fault]) -> None:
        self.offset = 0
        self._chunks = chunks
        self._held = bytearray()
        self._place = 0
        self._fault: Fault | None = None
        self._ended = False
        self._sound = 0  # the offset up to which checksums were right
        self._searched = 0  # the offset before which no end of a header begins

    @property
    def ending(self) -> str:
        """What a record is that the window ends in."""
        return self._fault.reason if self._fault else "truncated_record"

    def hold(self, size: int) -> bool:
        """Whether there are `size` bytes, which are read if they are not held."""
        while len(self._held) - self._place < size and not self._ended:
            chunk = next(self._chunks, None)
            if chunk == SOUND:
                self._sound = self.offset + len(self._held) - self._place
            elif isinstance(chunk, bytes):
                del self._held[: self._place]
                self._place = 0
                self._held += chunk
            else:
                self._ended, self._fault = True, chunk
        return len(self._held) - self._place >= size

    def peek(self) -> bytes:
        return bytes(self._held[self._place : self._place + len(_BEGINNING)])

    def take(self, size: int) -> bytes:
        taken = bytes(self._held[self._place : self._place + size])
        self._place += size
        self.offset += size
        return taken

    def skip(self, size: int) -> bool:
        """Whether there were `size` bytes to leave behind."""
        while size and self.hold(1):
            step = min(size, len(self._held) - self._place)
            self._place += step
            self.offset += step
            size -= step
        return size == 0

    def header_size(self) -> int | None:
        """How far it is to the end of the header that begins here; None where that is not within _MAX_HEADER bytes.

        What was searched in vain is not searched again for the next header: they may begin at every line.
        """
        size = 4096
        while True:
            more = self.hold(min(size, _MAX_HEADER))
            end = min(self._place + _MAX_HEADER, len(self._held))
            start = self._place + max(0, self._searched - self.offset)
            found = _HEADER_END.search(self._held, start, end)
            if found:
                return found.end() - self._place
            self._searched = self.offset + max(start, end - _HEADER_END_BYTES + 1) - self._place
            if not more or size >= _MAX_HEADER:
                return None
            size *= 4

    def skip_blank_lines(self) -> bool:
        """Moves to where a record should begin; False at the end of the file, if nothing is amiss there."""
        while self.hold(1) and (blank := _BLANK.match(self._held, self._place)):
            self.skip(blank.end() - self._place)
        return self.hold(1) or self._fault is not None

    def is_sound(self) -> bool:
        """Whether what was taken last is not what a fault behind it tells of. Of a file that is one gzip member only
        the last record is held to account: its checksum is known at its end.
        """
        self.skip_blank_lines()
        if self.hold(1) and self.peek().startswith(_BEGINNING):
            return True
        self.hold(len(self._held) - self._place + 1)  # the fault stands behind what it spoiled
        return self._fault is None or self.offset <= self._sound

    def go_on_behind_damage(self) -> None:
        """Moves to the next line that begins a record, or behind the fault that the window ends in."""
        while True:
            found = _NEXT_RECORD.search(self._held, self._place + 1)
            if found:
                self.skip(found.start() - self._place)
                return
            self.skip(max(0, len(self._held) - self._place - 16))
            if not self.hold(len(self._held) - self._place + 1):
                break
        self.skip(len(self._held) - self._place)
        if self._fault is not None:
            self._ended, self._fault = False, None


def _decompressed(file: IO[bytes], path: Path) -> Iterator[bytes | Fault]:
    magic = file.read(4)
    file.seek(0)
    if 0 < len(magic) < 4 and any(known.startswith(magic) for known in (_GZIP, _ZSTD, _LZ4)):
        yield Fault("truncated_record")
    elif magic.startswith(_GZIP[:2]):
        yield from _gunzipped(file)
    elif magic in (_ZSTD, _LZ4):
        yield from _by_arrow(path, "zstd" if magic == _ZSTD else "lz4")
    else:
        while chunk := file.read(_CHUNK):
            yield chunk


def _gunzipped(file: IO[bytes]) -> Iterator[bytes | Fault]:
    """The members' contents. Behind a damaged one, reading goes on with the next that begins a record."""
    member, data, stream = 0, b"", zlib.decompressobj(wbits=31)
    while True:
        if not data and not (data := file.read(_CHUNK)):
            if file.tell() != member:
                yield Fault("truncated_record")
            return
        try:
            content = stream.decompress(data, _CHUNK)
        except zlib.error:
            yield Fault("damaged_record")
            behind = _next_member(file, member + 1)
            if behind is None:
                return
            file.seek(behind)
            member, data, stream = behind, b"", zlib.decompressobj(wbits=31)
            continue
        if content:
            yield content
        data = stream.unconsumed_tail
        if stream.eof:
            yield SOUND
            data = stream.unused_data.lstrip(b"\0")  # tapes pad with zeros
            member, stream = file.tell() - len(data), zlib.decompressobj(wbits=31)


def _next_member(file: IO[bytes], start: int) -> int | None:
    """Where a gzip member begins that begins with a record, at or behind `start`."""
    file.seek(start)
    held = b""
    while chunk := file.read(_CHUNK):
        held += chunk
        place = held.find(_GZIP)
        while place >= 0:
            here = file.tell() - len(held) + place
            if _begins_record(file, here):
                return here
            place = held.find(_GZIP, place + 1)
        held = held[-2:]
    return None


def _begins_record(file: IO[bytes], place: int) -> bool:
    back = file.tell()
    file.seek(place)
    try:
        return zlib.decompressobj(wbits=31).decompress(file.read(4096), len(_BEGINNING)) == _BEGINNING
    except zlib.error:
        return False
    finally:
        file.seek(back)


def _by_arrow(path: Path, codec: str) -> Iterator[bytes | Fault]:
    """Arrow gives nothing of a read that meets the damage: that one is read again byte by byte."""
    given = 0
    try:
        with pa.input_stream(str(path), compression=codec) as stream:
            while chunk := stream.read(_CHUNK):
                given += len(chunk)
                yield chunk
        return
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = "truncated_record" if "runcated" in str(error) else "damaged_record"
    yield _last_bytes(path, codec, given)
    if why == "truncated_record":
        yield SOUND
    yield Fault(why)


def _last_bytes(path: Path, codec: str, given: int) -> bytes:
    last = bytearray()
    try:
        with pa.input_stream(str(path), compression=codec) as stream:
            while given and (skipped := len(stream.read(min(given, _CHUNK)))):
                given -= skipped
            while byte := stream.read(1):
                last += byte
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
    return bytes(last)
