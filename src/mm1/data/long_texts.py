"""Long texts as several segments, so that a sequence out of a book is tokenised without the rest of the book.

    in_pieces(Text(book))      # [Text(…), Text(…), …], together the same text

Only the segments that reach into a sequence are tokenised when it is read (encode.py). Cuts fall behind a line break,
or else before a space: tokenizers that split text into words first cut there too, and give the same ids. In a text
with neither they fall anywhere. Knows nothing of tokenizers or shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mm1.types import Segment, Text

MAX_PIECE = 1 << 14
"""Characters: about as many as a sequence of 4096 tokens has."""

_LINE_ENDS, _WORD_ENDS = re.compile(r"\n(?=\S)"), re.compile(r"\S(?= \S)")


def in_pieces(segment: Segment) -> Iterator[Segment]:
    """The segment, or where it is a long text the pieces of it, with the same target mark."""
    if not isinstance(segment, Text) or len(segment.text) <= MAX_PIECE:
        yield segment
        return
    start, text = 0, segment.text
    while start < len(text):
        stop = _cut(text, start)
        yield Text(text[start:stop], segment.target)
        start = stop


def _cut(text: str, start: int) -> int:
    """Where the piece that begins at `start` ends."""
    most = start + MAX_PIECE
    if len(text) <= most:
        return len(text)
    for ends in (_LINE_ENDS, _WORD_ENDS):
        # A piece of less than half the length is not worth a better place.
        if found := list(ends.finditer(text, start + MAX_PIECE // 2, most)):
            return found[-1].end()
    return most
