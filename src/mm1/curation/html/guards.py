"""What is looked at before a page is parsed: whether it is HTML at all, and whether it nests too deep.

Both take linear time. Knows nothing of trees.
"""

from __future__ import annotations

import re

from mm1.curation.html.words import ACTS, word_set
from mm1.curation.page import Dropped

MAX_DEPTH = 2_000
"""Elements within elements. Browsers stop at a few hundred; the parser's time is quadratic in it."""

_START = 4_096
_ROOT = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FIRST = re.compile(
    r"\s*(?:(?:<!--.*?(?:-->|$)|<\?[^>]*>|<![a-z][^>]*>)\s*)*<([a-zA-Z][^\s/>]*)", re.DOTALL | re.IGNORECASE
)
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_CLOSED_BY_THEMSELVES = word_set(
    "area base br col embed hr img input link meta param source track wbr "
    "p li dt dd tr td th thead tbody tfoot option optgroup colgroup rp rt"
)
"""Void elements, and those whose end tags may be left out."""

_KNOWN = frozenset(ACTS) | word_set(
    "a abbr acronym b basefont bdi bdo big cite code data del dfn em font i ins kbd mark q s samp small span strike "
    "strong sub sup time tt u var wbr slot object applet col title head meta link script style template"
)


def looks_like_html(text: str) -> bool:
    """Whether a root or a doctype stands near the beginning, or the first tag is one of HTML's."""
    if _ROOT.search(text, 0, _START):
        return True
    first = _FIRST.match(text)
    return first is not None and first.group(1).lower() in _KNOWN


def check_nesting(text: str) -> None:
    """Raises Dropped("too_deep") if elements nest deeper than MAX_DEPTH.

    Estimated from tags alone, and only where there are enough of them.
    """
    if text.count("<") <= MAX_DEPTH:
        return
    depth = 0
    for found in _TAG.finditer(text):
        if found.group(2).lower() in _CLOSED_BY_THEMSELVES:
            continue
        if found.group(1):
            depth = max(depth - 1, 0)
        else:
            depth += 1
            if depth > MAX_DEPTH:
                raise Dropped("too_deep")
