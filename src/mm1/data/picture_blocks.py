r"""Whether an encoded picture has more blocks than any encoder writes, asked before a decoder walks through them.

    too_many_blocks(photo)                                          # False, after some microseconds
    too_many_blocks(b"\xff\xd8" + b"\xff\xfe\0\2" * 5_000_000)      # True: 20 MB of which Pillow makes 350

Pillow keeps an object of each comment, and goes through all pixels for each scan of a progressive JPEG: so small files
take a gigabyte, or minutes. The walk here makes the steps that Pillow's and libjpeg's own make, and gives up where they
are too many. It takes 1 to 1.5 % of the time of decoding a JPEG of 160 by 120, less than 1 % of all else's. What is
broken is not told here: decoders do. BMP has no blocks, and libwebp passes those of WebP quickly (20 MB of empty ones
take it 113 MB).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from PIL.JpegImagePlugin import MARKER

MAX_BLOCKS = 4096
"""Of metadata: a megabyte of a colour profile or of XMP in a GIF has as many, and no other file a tenth."""
MAX_SCANS = 100
"""Of a JPEG; progressive ones have about ten. Each may be of a hundred bytes and cost a walk through all pixels."""
_MAX_JUNK = 1 << 16
"""Bytes between blocks, each of which is a step as well."""
_MIN_MEAN_CHUNK, _MIN_MEAN_SUB_BLOCK = 256, 16
"""Bytes of a PNG and of a GIF for one block of pixels: encoders write thousands, and 255."""

_JPEG_MARKER = re.compile(rb"\xff([\x01-\xfe])")
BEHIND_A_SCAN = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""The next marker within a scan: neither a stuffed FF 00, nor a restart, nor the padding FF FF."""
_WITH_CONTENT = frozenset(code & 0xFF for code, (_, _, handler) in MARKER.items() if handler is not None)
"""The markers behind which Pillow passes a length and a content."""
_SCAN, _END_OF_IMAGE, _ALONE = 0xDA, 0xD9, frozenset((0x01, *range(0xD0, 0xDA)))
_FRAMES, _SEQUENTIAL = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}, (0xC0, 0xC1)
_FULL_SUB_BLOCKS = re.compile(rb"(?:\xff.{255})*", re.DOTALL)


class _TooMany(Exception):
    pass


def too_many_blocks(data: bytes) -> bool:
    """Whether a decoder should be spared; False for what is no picture."""
    walk = next((walk for start, walk in _WALKS.items() if data.startswith(start)), None)
    try:
        if walk is not None:
            walk(data)
    except _TooMany:
        return True
    except IndexError:  # it is cut off, after few blocks
        return False
    return False


def _jpeg(data: bytes) -> None:
    place, blocks, junk, frame = 2, 0, 0, 0
    while (found := _JPEG_MARKER.search(data, place)) is not None:
        blocks += 1
        junk += found.start() - place
        if blocks > MAX_BLOCKS or junk > _MAX_JUNK:
            raise _TooMany
        marker, place = found[1][0], found.end()
        if marker == _SCAN:
            one_scan = frame and data[frame - 1] in _SEQUENTIAL and data[frame + 7] == data[place + 2]
            if not one_scan and _looks_like_scans(data) > MAX_SCANS:
                _refuse_scans(data, place)
            return
        if marker in _FRAMES:
            frame = place
        if marker in _WITH_CONTENT:
            place += int.from_bytes(data[place : place + 2], "big")
    _refuse(len(data) - place > _MAX_JUNK)


def _looks_like_scans(data: bytes) -> int:
    """How often FF DA stands in it; numpy counts them five times as fast as `bytes.count`."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == _SCAN)))


def _refuse_scans(data: bytes, place: int) -> None:
    """Counts them exactly: what follows the picture, as the film of a moving photo, may look like scans."""
    scans = 1
    while (found := BEHIND_A_SCAN.search(data, place)) is not None and found[1][0] != _END_OF_IMAGE:
        place = found.end()
        scans += found[1][0] == _SCAN
        _refuse(scans > MAX_SCANS)
        if found[1][0] not in _ALONE:
            place += int.from_bytes(data[place : place + 2], "big")


def _png(data: bytes) -> None:
    place, end = 8, len(data)
    others, pixels, most = 0, 0, MAX_BLOCKS + end // _MIN_MEAN_CHUNK
    while place + 8 <= end:
        kind = data[place + 4 : place + 8]
        if kind == b"IDAT":
            pixels += 1
        elif kind == b"IEND":
            return
        else:
            others += 1
        _refuse(others > MAX_BLOCKS or pixels > most)
        place += 12 + int.from_bytes(data[place : place + 4], "big")


def _gif(data: bytes) -> None:
    """As far as the second frame, behind which Pillow does not look."""
    place, blocks, junk, frames = 13 + gif_colours(data[10]), 0, 0, 0
    while (kind := data[place]) != 0x3B:
        if kind == 0x21:  # an extension
            place, more = _sub_blocks(data, place + 2, MAX_BLOCKS - blocks)
            blocks += 1 + more
        elif kind == 0x2C:  # a frame: its own colours, then a byte before its blocks
            frames += 1
            if frames == 2:
                return
            place += 11 + gif_colours(data[place + 9])
            place = _FULL_SUB_BLOCKS.match(data, place).end()  # type: ignore[union-attr]  # matches nothing at least
            place, _ = _sub_blocks(data, place, MAX_BLOCKS + len(data) // _MIN_MEAN_SUB_BLOCK)
        else:
            place += 1
            junk += 1
        _refuse(blocks > MAX_BLOCKS or junk > _MAX_JUNK)


def gif_colours(flags: int) -> int:
    """Bytes of the table of colours that the flags of a GIF, or of one of its frames, announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(data: bytes, place: int, most: int) -> tuple[int, int]:
    """Where they end, and how many there are."""
    count = 0
    while size := data[place]:
        place += 1 + size
        count += 1
        _refuse(count > most)
    return place + 1, count


def _refuse(if_so: bool) -> None:
    if if_so:
        raise _TooMany


_WALKS: dict[bytes, Callable[[bytes], None]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
}
