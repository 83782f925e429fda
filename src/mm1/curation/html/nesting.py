"""Whether elements within elements would cost the parser time or memory that grows with the square of a page.

    <div><div><div>…                            every new one looks through all that are open
    <p><b id=1><b id=2>… </p><p>x<p>x<p>x…      every <p> opens all <b> again that have no end: 60 kB take 7 GB

Most pages have too few elements for either, which their text tells. In others, formatting that surely ends is told
apart by its text, and how deep the rest stands is asked of the parser itself, piece by piece: what a piece leaves open
counts, and no piece is long enough to be dear. End tags of what an earlier piece opened count for nothing, so a page is
taken as deeper than it is, a little for every piece.

What this does not see: a page that knows where the pieces begin, and there stands in a script or a comment which makes
the piece read otherwise. Such a page takes the parser the square of its length, which `max_bytes` alone bounds.
"""

from __future__ import annotations

import re
from collections import Counter

from mm1.curation.html.parser import parse
from mm1.curation.html.words import word_set
from mm1.curation.page import Dropped

MAX_DEPTH = 2_000
"""Elements within elements. Browsers stop at a few hundred."""
MAX_REOPENED = 2_000_000
"""Elements that the parser adds because their end is missing; each takes 360 bytes."""

_FEW = 1_000
"""Elements that cost little, however they stand: at worst a quarter of their square is added."""
_PIECE = 1 << 16
"""Characters: at most 13,000 elements deep, 0.2 seconds."""

_SPACE = r"\t\n\f\r "
_START = re.compile(rf"<([a-zA-Z][^{_SPACE}/>]*>?)")
_FLAT = word_set(
    "area base br col embed hr img input link meta param source track wbr "
    "p td th tr thead tbody tfoot colgroup a nobr html head body"
)
"""However often they begin, they stand in others of their kind only where something else stands between."""
_FORMATTING = word_set("b big code em font i s small strike strong tt u")
"""What is opened again (HTML Standard, 13.2.4.3), but <a> and <nobr>, of which the next ends the last."""
_SAME = 3
"""Of the same without attributes, how many at most."""

_ATTRIBUTES = rf"(?:[{_SPACE}]++[\w:.@-]++(?:=\"[^\"]*+\"|='[^']*+'|=[\w./:#%-]++)?+)*+[{_SPACE}]*+/?+>"
_IN_LINE = f"{'|'.join(_FORMATTING)}|a|abbr|acronym|br|cite|del|dfn|img|ins|kbd|mark|p|q|samp|span|sub|sup|time|var|wbr"
_ENDED = re.compile(
    rf"<({'|'.join(_FORMATTING)})(?=({_ATTRIBUTES})[^<]*+"
    rf"(?:<(?!/?\1[{_SPACE}/>])(?:/(?:{_IN_LINE})>|(?:{_IN_LINE}){_ATTRIBUTES})[^<]*+){{0,20}}+</\1>)",
    re.IGNORECASE | re.ASCII,  # of Unicode, ſ is an s too
)
"""Formatting and its end, with nothing between that could keep the one from the other."""

_ENDS = "'\">'>-->" + "".join(
    f"</{tag}>" for tag in ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "select"]
)
"""Of whatever a piece may end in that is not read as elements."""
_TEMPLATE = re.compile(rf"<(/?)template(?=[{_SPACE}/>])", re.IGNORECASE)


def check_nesting(text: str) -> None:
    """Raises Dropped: too_deep, or too_many_reopened."""
    starts = text.count("<")
    if starts > _FEW:
        starts -= text.count("</")
    if starts <= _FEW:
        return
    counts: Counter[str] = Counter()
    for tag, count in Counter(_START.findall(text)).items():
        counts[tag.lower()] += count
    if _reopened(counts) * starts > MAX_REOPENED:
        ended = Counter(name.lower() + ">" * (rest == ">") for name, rest in _ENDED.findall(text))
        if _reopened(counts - ended) * starts > MAX_REOPENED:
            raise Dropped("too_many_reopened")
    nesting = sum(count for tag, count in counts.items() if tag.rstrip(">") not in _FLAT)
    if nesting > MAX_DEPTH and _depth_exceeds(text):
        raise Dropped("too_deep")


def _reopened(counts: Counter[str]) -> int:
    """How many elements may be opened again at once, by tags: "b>" and, with attributes, "b"."""
    with_attributes = sum(counts[name] for name in _FORMATTING)
    return with_attributes + sum(min(counts[f"{name}>"], _SAME) for name in _FORMATTING)


def _depth_exceeds(text: str) -> bool:
    depth = 0
    for at in range(0, len(text), _PIECE):
        depth += _left_open(text[at : at + _PIECE])
        if depth > MAX_DEPTH:
            return True
    return False


def _left_open(piece: str) -> int:
    """Elements in which the next one after the piece would stand; all, where that can not be told."""
    name = "mm1"
    lower = piece.lower()
    while name in lower:
        name += "1"
    piece = _TEMPLATE.sub(r"<\1object", piece)  # which nests alike, and in which elements can be looked for
    page = parse(f"x{piece}{_ENDS}<p><i id={name}>")  # the x: no <frameset> takes the place of the body
    node = page.css_first(f"#{name}")
    if node is None:
        return piece.count("<")
    depth = -_AROUND
    while (above := node.parent) is not None:
        node = above
        depth += 1
    return depth


_AROUND = len(("document", "html", "body", "p"))
