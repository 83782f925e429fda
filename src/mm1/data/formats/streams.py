"""Files as streams of bytes, lines and JSON objects: decompressed on the way, never whole in memory.

    for where, line in lines(Path("texts.jsonl.zst")): …            # a bytes line, or a Drop
    for where, row in json_records(Path("chats.json")): …           # an object of an array, or of a line

A file's first bytes say how it is compressed (gzip, zstd, a zip of one file), not its name. What is longer than
MAX_LINE is skipped and dropped, however far a small compressed file expands. Where a stream is cut off or damaged, what
was read stays and one Drop stands for the rest. Knows nothing of documents.
"""

from __future__ import annotations

import codecs
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from mm1.data.formats.decompress import PIECE, Gunzipped, Unzstd
from mm1.data.formats.reading import Drop, Located, Unusable

MAX_LINE = 64 << 20
"""Bytes of a line or an object of an array."""

_SKIP = 1 << 20
_BETWEEN = re.compile(r"[ \t\r\n,]*")


class Damaged(Exception):
    """A stream that can not be read on; `reason` is "truncated" or "damaged"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def open_stream(path: Path, share: range | None = None) -> Iterator[IO[bytes]]:
    """The decompressed bytes of `path`, or the lines that begin in the bytes `share` of one that is not compressed.
    What goes wrong with the content inside the block is raised as Damaged.

    Raises:
        Damaged: cut off, or no valid stream of its kind.
        OSError: the disk or the file system's own errors.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if share is not None:
            with io.BufferedReader(_Lines(path, share), PIECE) as stream:
                yield stream
        elif (kind := _compression(magic)) == "zip":
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(archive)) as stream:
                yield stream
        elif kind == "gzip":
            with io.BufferedReader(Gunzipped(path.open("rb")), PIECE) as stream:
                yield stream
        elif kind == "zstd":
            with io.BufferedReader(Unzstd(path), PIECE) as stream:
                yield stream
        else:
            with path.open("rb") as stream:
                yield stream
    except FAILURES as error:
        raise _damaged(error) from None


def _compression(magic: bytes) -> str:
    """What a file with these first 4 bytes is compressed by; empty for what is not."""
    if magic == b"PK\x03\x04":
        return "zip"
    if magic.startswith(b"\x1f\x8b"):
        return "gzip"
    is_skippable = magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5
    return "zstd" if is_skippable or magic == b"\x28\xb5\x2f\xfd" else ""


FAILURES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, pa.ArrowInvalid, OSError)
"""What a stream raises inside `open_stream`; outside of it has become Damaged, or was the disk's own error."""


class _Lines(io.RawIOBase):
    """The lines of a file that begin in some of its bytes."""

    def __init__(self, path: Path, share: range) -> None:
        super().__init__()
        self._file = path.open("rb")
        end = self._seek_line(share.stop)
        self._left = end - self._seek_line(share.start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _seek_line(self, position: int) -> int:
        """Goes to the first line that begins at `position` or after it, and says where that is."""
        self._file.seek(max(0, position - 1))
        if position:
            while (rest := self._file.readline(_SKIP)) and not rest.endswith(b"\n"):
                pass
        return self._file.tell()


def line_shares(path: Path, size: int) -> list[range | None]:
    """Shares of about `size` bytes that processes may read apart; [None] of what can be read from its beginning only:
    a compressed file, or a JSON array.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    total = path.stat().st_size
    is_array = start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    if total <= size or is_array or _compression(start[:4]) or b"\0" in start:
        return [None]
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def place(path: Path, number: int, share: range | None) -> str:
    """Where line, or part, `number` of a share of a file stands: those are counted from the share's first byte."""
    return f"{path}:{number}" if share is None or share.start == 0 else f"{path}:{share.start}+{number}"


def _damaged(error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    # Arrow's own errors come without a number, and tell in words.
    return Damaged("truncated" if isinstance(error, EOFError) or "runcated" in str(error) else "damaged")


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise Damaged("zip of several files")
    if members[0].flag_bits & 1:
        raise Damaged("encrypted zip")
    return members[0]


def head(path: Path, size: int) -> bytes:
    """The first `size` decompressed bytes, or as many as there are.

    Raises:
        Damaged: not even they can be read.
    """
    with open_stream(path) as stream:
        return stream.read(size)


def lines(path: Path, share: range | None = None) -> Iterator[Located[bytes | Drop]]:
    """The lines of `path`, or those of a share of it, without their ends; blank ones are left out."""
    number = 0
    try:
        with open_stream(path, share) as stream:
            while line := stream.readline(MAX_LINE):
                number += 1
                where = place(path, number, share)
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    while (rest := stream.readline(_SKIP)) and not rest.endswith(b"\n"):
                        pass
                    yield where, Drop("line too long", where)
                elif line := line.strip(b" \t\r\n"):
                    yield where, line
    except Damaged as error:
        where = place(path, number + 1, share)
        yield where, Drop(error.reason, where)


def json_records(path: Path, share: range | None = None) -> Iterator[Located[dict[str, Any] | Drop]]:
    """The JSON objects of `path`: one a line, all or those of a share, or the items of one array."""
    try:
        is_array = share is None and head(path, 1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except Damaged as error:
        yield str(path), Drop(error.reason, str(path))
        return
    values = array_items(path) if is_array else map(_parsed, lines(path, share))
    for where, value in values:
        if isinstance(value, dict | Drop):
            yield where, value
        else:
            yield where, Drop("no JSON object", where)


def _parsed(line: Located[bytes | Drop]) -> Located[Any]:
    where, content = line
    if isinstance(content, Drop):
        return line
    try:
        return where, parse_json(content)
    except Unusable as error:
        return where, Drop(error.reason, where)


def parse_json(data: bytes) -> Any:
    """The value; bytes in it that are not UTF-8 become lone surrogates, which no document is made of.

    Raises:
        Unusable: "invalid JSON", also where it is nested too deeply or holds endless numbers.
    """
    try:
        return json.loads(decoded(data.removeprefix(codecs.BOM_UTF8)))
    except (ValueError, RecursionError):
        raise Unusable("invalid JSON") from None


def decoded(data: bytes) -> str:
    """UTF-8 as text; other bytes become lone surrogates, which `reading.document` refuses."""
    return data.decode("utf-8", "surrogateescape")


def array_items(path: Path) -> Iterator[Located[Any]]:
    """The items of a JSON array one by one. Where one can not be parsed the rest is lost, as one Drop; so is what
    follows the array.
    """
    number = 0
    try:
        with open_stream(path) as stream:
            for value in _items(stream):
                yield f"{path}[{number}]", value
                number += 1
    except Damaged as error:
        where = f"{path}[{number}]"
        yield where, Drop(error.reason, where)


def _items(stream: IO[bytes]) -> Iterator[Any]:
    """The items, parsed from a window of text that moves over the stream and grows with the item in it."""
    decoder, decode = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    text, place, ended = decode(stream.read(_SKIP)), 0, False
    text = text.lstrip("\ufeff \t\r\n").removeprefix("[")
    while True:
        place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # matches nothing at least
        if text.startswith("]", place):
            _refuse_more(text[place + 1 :], stream)
            return
        try:
            value, end = decoder.raw_decode(text, place)
            whole = end < len(text) or ended  # a number at the window's end may go on
        except RecursionError:
            raise Damaged("invalid JSON") from None
        except ValueError:
            whole = False
        if whole:
            yield value
            place = end
        elif ended or len(text) - place > MAX_LINE:
            raise Damaged("truncated" if ended else "invalid JSON")
        else:  # the window doubles: an item of n bytes is tried log n times
            data = stream.read(max(_SKIP, len(text) - place))
            text, place, ended = text[place:] + decode(data, not data), 0, not data


def _refuse_more(text: str, stream: IO[bytes]) -> None:
    """Raises Damaged if something follows an array: `text`, or what is left of the stream."""
    rest: str | bytes = text
    while not rest.strip():
        rest = stream.read(_SKIP)
        if not rest:
            return
    raise Damaged("text after an array")
