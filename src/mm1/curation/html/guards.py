"""What is looked at before a page is parsed: whether the parser would take too long.

Two things cost the parser (lexbor) quadratic time: elements within elements, and attributes of one element. Both are
estimated from the text in linear time, and only in pages that have room for enough of them. Knows nothing of trees.
"""

from __future__ import annotations

import re
from collections import Counter

from mm1.curation.html.words import word_set
from mm1.curation.page import Dropped

MAX_DEPTH = 2_000
"""Elements within elements. Browsers stop at a few hundred."""
MAX_ATTRIBUTES = 5_000
"""Of one element."""

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_LONGEST_TAG = 20_000
"""Characters in which no more attributes stand than cost little."""
_LONG_TAG = re.compile(rf"<[a-zA-Z][^>]{{{_LONGEST_TAG},}}")
_QUOTED = re.compile(r"=\s*(?:\"[^\"]*\"|'[^']*')")
_ATTRIBUTE = re.compile(r"[\s/][a-zA-Z_:@-][\w:.@-]*(?=[\s=/]|$)")
_NEVER_IN_THEIR_LIKE = word_set(
    "area base br col embed hr img input link meta param source track wbr "
    "p li dt dd tr td th thead tbody tfoot colgroup option "
    "a nobr form h1 h2 h3 h4 h5 h6 html head body"
)
"""However often they begin: void elements, those whose end tags may be left out, and those that end each other."""


def check_nesting(text: str) -> None:
    """Raises Dropped: too_deep, or too_many_attributes."""
    if text.count("<") > MAX_DEPTH and _depth_exceeds(text):
        raise Dropped("too_deep")
    if _has_long_tag(text):
        for found in _LONG_TAG.finditer(text):
            tag = _QUOTED.sub("= ", found.group())
            if sum(1 for _ in _ATTRIBUTE.finditer(tag)) > MAX_ATTRIBUTES:
                raise Dropped("too_many_attributes")


def _has_long_tag(text: str) -> bool:
    """Whether there may be one: goes on from the last ">" in reach as long as there is one."""
    at = 0
    while len(text) - at > _LONGEST_TAG:
        at = text.rfind(">", at, at + _LONGEST_TAG + 1) + 1
        if not at:
            return True
    return False


def _depth_exceeds(text: str) -> bool:
    """An end tag ends something only where an element of its name is open."""
    open_of: Counter[str] = Counter()
    depth = 0
    for found in _TAG.finditer(text):
        end, name = found.groups()
        name = name.lower()
        if name in _NEVER_IN_THEIR_LIKE:
            continue
        if not end:
            open_of[name] += 1
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif open_of[name]:
            open_of[name] -= 1
            depth -= 1
    return False
