r"""Where a picture ends within its bytes, as its format says; a file may go on after it.

    picture_end(png + b"PK\x03\x04…", "PNG") == len(png)
    picture_end(png[:-4], "PNG") is None                 # it does not end: it was cut

Decoders do not ask: they stop when they have their pixels, whatever follows, and some forgive a missing end. Walks the
file's blocks and decodes nothing.
"""

from __future__ import annotations

from mm1.data.image import ImageFormat
from mm1.data.picture_blocks import BEHIND_A_SCAN, gif_colours

_JPEG_ALONE = {0x01, 0xD8}
"""Markers with no length and content."""
_END_OF_IMAGE = 0xD9
_BMP_PLAIN = (0, 3)
"""Compressions that are none: plain pixels, and plain pixels with masks."""


def picture_end(data: bytes, format: ImageFormat) -> int | None:
    """The number of bytes that are the picture; None where it ends nowhere in `data` or its blocks make no sense."""
    try:
        end = _ENDS[format](data)
    except IndexError:  # it looked past the last byte
        return None
    return end if end is not None and end <= len(data) else None


def _jpeg(data: bytes) -> int | None:
    place = 2
    while True:
        found = BEHIND_A_SCAN.search(data, place)
        if found is None:
            return None
        marker, place = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return place
        if marker not in _JPEG_ALONE:
            place += int.from_bytes(data[place : place + 2], "big")


def _png(data: bytes) -> int | None:
    place = 8
    while True:
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        place += 12 + length
        if len(kind) < 4:
            return None
        if kind == b"IEND":
            return place


def _gif(data: bytes) -> int | None:
    place = 13 + gif_colours(data[10])
    while True:
        kind = data[place]
        if kind == 0x3B:  # the trailer
            return place + 1
        if kind == 0x21:  # an extension
            place = _gif_blocks(data, place + 2)
        elif kind == 0x2C:  # a frame: its own colours, then a byte before its blocks
            place = _gif_blocks(data, place + 11 + gif_colours(data[place + 9]))
        else:
            return None


def _gif_blocks(data: bytes, place: int) -> int:
    while data[place]:
        place += 1 + data[place]
    return place + 1


def _webp(data: bytes) -> int | None:
    length = int.from_bytes(data[4:8], "little")
    return 8 + length + length % 2


def _bmp(data: bytes) -> int | None:
    """Its pixels are a plain table; the length that its header states is often wrong, and is not asked.

    A compressed one, which nobody has made for decades, is the whole file; so is one whose header says that its pixels
    begin where the header or the colours are: readers guess where they do.
    """
    start, header = (int.from_bytes(data[place : place + 4], "little") for place in (10, 14))
    if header == 12:  # OS/2
        width, height, _, depth = _numbers(data, 18, 2, 4, signed=False)
        compression = 0
    else:
        (width, height), depth, compression = (
            _numbers(data, 18, 4, 2),
            *_numbers(data, 28, 2, 1),
            *_numbers(data, 30, 4, 1),
        )
    if compression not in _BMP_PLAIN or start < 14 + header + (depth <= 8):
        return len(data)
    stride = (width * depth + 31) // 32 * 4
    return start + stride * abs(height)


def _numbers(data: bytes, place: int, width: int, count: int, signed: bool = True) -> list[int]:
    return [
        int.from_bytes(data[at : at + width], "little", signed=signed)
        for at in range(place, place + width * count, width)
    ]


_ENDS = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "WEBP": _webp, "BMP": _bmp}
