r"""Whether bytes are HTML, by how they begin.

    looks_like_html(b"\xef\xbb\xbf <!DOCTYPE HTML …")     # True

The signatures are those of the WHATWG's MIME sniffing standard, section 7.1, and XML whose root is html. Knows nothing
of names or headers.
"""

from __future__ import annotations

import codecs
import re

SNIFFED = 1024
"""Bytes that are looked at."""

_TAGS = (
    b"!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    b"|h2|h3|main|article|section|nav|header|meta|link|ul|ol|span"  # fragments, as scrapers store them
)
_START = re.compile(
    rb"(?:<!--.*?(?:-->|$)|<\?.*?(?:\?>|$)|\s)*<(?:" + _TAGS + rb")(?:[\s/>]|$)", re.IGNORECASE | re.DOTALL
)
_UTF16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def looks_like_html(data: bytes) -> bool:
    """Whether `data`, the beginning of a file, begins as HTML does: comments, an XML declaration and space may lead."""
    start = data[:SNIFFED]
    for mark, name in _UTF16:
        if start.startswith(mark):
            start = start[2:].decode(name, "ignore").encode("utf-8", "ignore")
    return _START.match(start.removeprefix(codecs.BOM_UTF8)) is not None
