"""What a body is, by its own bytes: the name a server gives it is not believed.

    check_start(b"<!DOCTYPE html>…", "image", "image/jpeg")     # Failed("not_an_image")
    Unpacker("gzip", limit=20_000_000).feed(chunk)              # Failed("too_large") before memory is taken

Knows nothing of connections; whether an image's pixels are whole is for who decodes it.
"""

from __future__ import annotations

import re
import zlib
from typing import Literal, TypeAlias

from mm1.curation.fetch.failed import Failed
from mm1.curation.html.sniffing import begins_as_html

Kind: TypeAlias = Literal["image", "html", "robots"]

START_BYTES = 512
"""So many decide what it is."""

_IMAGES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM", re.S)
_OTHER_IMAGES = re.compile(
    rb"....ftyp(?:avif|avis|heic|heix|mif1|msf1)|II\*\x00|MM\x00\*|\x00\x00\x01\x00|\xff\x0a|\x00\x00\x00\x0cJXL |8BPS",
    re.S,
)
_MAY_BE_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!--|!doctype svg|svg)", re.I)
_BINARY = re.compile(rb"%PDF|PK\x03\x04|\x1f\x8b|\x28\xb5\x2f\xfd|BZh|\xfd7zXZ|OggS|ID3|....ftyp|\x1aE\xdf\xa3", re.S)
_WIDE = (b"\xff\xfe", b"\xfe\xff")


def check_start(start: bytes, kind: Kind, media_type: str) -> None:
    """Refuses by its first START_BYTES bytes (or all, where it is shorter) what is not of `kind`.

    Raises:
        Failed: empty, not_an_image, image_format (an image, of a kind that is not read here), not_html.
    """
    if kind == "robots":
        return
    if not start:
        raise Failed("empty")
    if kind == "image" and not _IMAGES.match(start):
        raise Failed("image_format" if _is_other_image(start) else "not_an_image")
    if kind == "html" and not _is_html(start, media_type):
        raise Failed("not_html")


def _is_other_image(start: bytes) -> bool:
    if _MAY_BE_SVG.match(start):
        return b"<svg" in start.lower() and b"<html" not in start.lower()
    return _OTHER_IMAGES.match(start) is not None


def _is_html(start: bytes, media_type: str) -> bool:
    """What is called HTML is left to who reads it, unless it is something else for certain."""
    if media_type not in ("text/html", "application/xhtml+xml"):
        return begins_as_html(start)
    if start.startswith(_WIDE):  # UTF-16: full of zeros, and declared by its first two bytes
        return True
    return b"\0" not in start and not (_IMAGES.match(start) or _is_other_image(start) or _BINARY.match(start))


class Unpacker:
    """Undoes a Content-Encoding piece by piece, never holding more than `limit` bytes."""

    def __init__(self, encoding: str, limit: int) -> None:
        """Takes the header's value; raises Failed("content_encoding") for one that was not asked for."""
        encoding = encoding.strip().lower().removeprefix("x-")
        if encoding not in ("", "identity", "gzip", "deflate"):
            raise Failed("content_encoding")
        self._encoding = encoding if encoding != "identity" else ""
        self._limit = limit
        self._inflater: zlib._Decompress | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._members = 0
        self._ended = False

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes of the body.

        Raises:
            Failed: too_large, bad_encoding.
        """
        if not self._encoding:
            self._keep(chunk)
            return
        while chunk and not self._ended:
            if self._inflater is None:
                if self._members and (self._encoding == "deflate" or not chunk.startswith(b"\x1f")):
                    self._ended = True  # what follows is no further member of a gzip file, but padding
                    return
                self._inflater = zlib.decompressobj(self._window(chunk))
            try:
                self._keep(self._inflater.decompress(chunk, self._limit - self._size + 1))
            except zlib.error:
                raise Failed("bad_encoding") from None
            chunk = self._inflater.unconsumed_tail
            if self._inflater.eof:
                chunk = self._inflater.unused_data
                self._inflater = None
                self._members += 1

    def start(self, size: int) -> bytes:
        """The first `size` bytes so far."""
        return b"".join(self._pieces)[:size]

    def result(self) -> bytes:
        """The whole; raises Failed("truncated") where the packed body ended too early."""
        if self._encoding and self._inflater is not None:
            raise Failed("truncated")
        return b"".join(self._pieces)

    def _window(self, chunk: bytes) -> int:
        """What zlib is to expect: gzip; or, for deflate, either of the two things that servers mean by it."""
        if self._encoding == "gzip":
            return 16 + zlib.MAX_WBITS
        is_zlib = chunk[0] & 0x0F == 8 and (len(chunk) < 2 or (chunk[0] * 256 + chunk[1]) % 31 == 0)
        return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise Failed("too_large")
        self._pieces.append(piece)
