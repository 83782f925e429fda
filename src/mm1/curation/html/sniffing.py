r"""Whether something is HTML, by how it begins: the one place that answers this, in its two forms.

    begins_as_html(b"\xef\xbb\xbf <!DOCTYPE HTML …")       # True: of what nobody calls HTML
    may_be_html("Warning: line 3 <html><body> …")          # True: of what a server or a suffix calls HTML

What is called HTML often begins with something else, as a message of the script that made it, and is read by browsers
all the same; but a text that only mentions a tag is no page, so what nobody calls HTML must begin as it. The signatures
of that are those of the WHATWG's MIME sniffing standard, section 7.1, and XML whose root is html. Knows nothing of
names, headers or trees.
"""

from __future__ import annotations

import codecs
import re

from mm1.curation.html.words import ACTS, word_set

SNIFFED = 1024
"""Bytes that `begins_as_html` looks at."""

_TAGS = (
    b"!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    b"|h2|h3|main|article|section|nav|header|meta|link|ul|ol|span"  # fragments, as scrapers store them
)
_START = re.compile(
    rb"(?:<!--.*?(?:-->|$)|<\?.*?(?:\?>|$)|\s)*<(?:" + _TAGS + rb")(?:[\s/>]|$)", re.IGNORECASE | re.DOTALL
)
_UTF16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_BEGINNING = 4_096
_PROLOG = (("<!--", "-->"), ("<!", ">"), ("<?", ">"))
_ROOT = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FIRST = re.compile(r"<([a-zA-Z][^\s/>]*)")
_KNOWN = (
    frozenset(ACTS) | word_set("bdi bdo del mark time wbr slot object applet strike basefont data span font")
) - word_set("svg math -comment !doctype")


def begins_as_html(data: bytes) -> bool:
    """Whether `data`, the beginning of a file, begins as HTML does: comments, an XML declaration and space may lead."""
    start = data[:SNIFFED]
    for mark, name in _UTF16:
        if start.startswith(mark):
            start = start[2:].decode(name, "ignore").encode("utf-8", "ignore")
    return _START.match(start.removeprefix(codecs.BOM_UTF8)) is not None


def may_be_html(text: str) -> bool:
    """Whether it begins as HTML, the first tag is one of HTML's, or a root or a doctype stands near the beginning."""
    if begins_as_html(text[:SNIFFED].encode("utf-8", "ignore")):
        return True
    start = text[:_BEGINNING].lstrip()
    if start.startswith(("{", "[")):
        return False
    first = _FIRST.match(text, _after_prolog(text))
    if first is not None and first.group(1).lower() in _KNOWN:
        return True
    return not start.startswith("<?xml") and _ROOT.search(text, 0, _BEGINNING) is not None


def _after_prolog(text: str) -> int:
    """Where comments, processing instructions and declarations at the beginning end."""
    at = 0
    while True:
        spaces = text[at : at + _BEGINNING]
        at += len(spaces) - len(spaces.lstrip())
        closing = next((end for start, end in _PROLOG if text.startswith(start, at)), "")
        end = text.find(closing, at + 2) if closing else -1
        if end < 0:
            return at
        at = end + len(closing)
