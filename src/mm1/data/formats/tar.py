"""Members of a tar, in order, read as a stream: regular files only, whatever else is in it is walked over.

    for member in members(Path("00000.tar"), wanted=lambda name: name.endswith(".jpg")):
        member.name, member.data

The standard library's parser reads the headers, but not the archive: its walk holds names of any length and every
header it met in memory, and ends silently where a file was cut off between two members. A tar ends with a block of
zeros; one that does not was cut off. Links, devices and sparse files are never followed or made. Knows no format of
samples.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mm1.data.formats.reading import MAX_IMAGE_BYTES
from mm1.data.formats.streams import Damaged, open_stream

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 1 << 20
"""Bytes of a long name, or of an extended header."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file."""

    name: str
    data: bytes | None
    """None where it is larger than MAX_IMAGE_BYTES."""


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The regular files that are `wanted` by their name.

    Raises:
        Damaged: when the part that can be read has been given; "truncated" or "damaged".
    """
    with open_stream(path) as stream:
        name: str | None = None
        size: int | None = None
        while True:
            header = _header(stream)
            if header is None:
                return
            length = header.size if size is None else size
            if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                if header.size > _MAX_HEADER:
                    raise Damaged("damaged")
                content = _content(stream, header.size)
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    name = content.rstrip(b"\0").decode("utf-8", "replace")
                else:
                    name, size = _extended(content, name, size)
                continue
            regular = header.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
            own = header.name if name is None else name
            if regular and wanted(own) and length <= MAX_IMAGE_BYTES:
                yield Member(own, _content(stream, length))
            else:
                _skip(stream, length)
                if regular and wanted(own):
                    yield Member(own, None)
            if header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
                name = size = None


def _header(stream: IO[bytes]) -> tarfile.TarInfo | None:
    """The next header; None at the block of zeros that ends a tar."""
    block = _exactly(stream, _BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        raise Damaged("damaged") from None
    if header.size < 0:
        raise Damaged("damaged")
    return header


def _extended(content: bytes, name: str | None, size: int | None) -> tuple[str | None, int | None]:
    r"""What the records `LENGTH KEY=VALUE\n` of an extended (pax) header say of the next member's name and size."""
    while content.strip(b"\0"):
        length, space, _ = content.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length[:8]) <= len(content):
            raise Damaged("damaged")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            name = value.decode("utf-8", "replace")
        elif key == b"size":
            if not value.isdigit() or len(value) > 19:
                raise Damaged("damaged")
            size = int(value)
        content = content[int(length) :]
    return name, size


def _content(stream: IO[bytes], size: int) -> bytes:
    data = _exactly(stream, size)
    _exactly(stream, -size % _BLOCK)
    return data


def _skip(stream: IO[bytes], size: int) -> None:
    left = size + -size % _BLOCK
    while left:
        left -= len(_exactly(stream, min(left, 1 << 20)))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Damaged("truncated")
    return data
