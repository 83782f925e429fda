"""HTML in which text is escaped unless it says that it is markup, and numbers as people read them.

    tag("p", "a < b ", tag("b", "& c"), class_="note")    # <p class="note">a &lt; b <b>&amp; c</b></p>
    count(1_240_000), duration(312), points(0.912)        # ("1.24 M", "5 min 12 s", "91.2")

No line ends within a number, nor between it and its unit: the spaces there are narrow and hold (U+202F).
Whatever comes from data is a plain `str` and cannot become markup. Knows nothing of runs or scores.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

DASH = "–"
HOLD = "\u202f"
"""A narrow space at which no line ends."""
VOID = frozenset({"img", "meta", "br"})


class Markup(str):
    """Text that is HTML already: made by the functions of this file, by `figures`, or from a constant of ours."""

    __slots__ = ()


def escape(content: object) -> Markup:
    """`content` as HTML text: unchanged if it is Markup, escaped (quotes too) otherwise."""
    return content if isinstance(content, Markup) else Markup(html.escape(str(content), quote=True))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element. Attributes: `class_` is `class`, `_` within a name is `-`, and None leaves the attribute out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{html.escape(str(value), quote=True)}"' for key, value in given.items())
    if name in VOID:
        assert not content, f"<{name}> holds nothing"
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{together(content)}</{name}>")


def together(parts: Iterable[object]) -> Markup:
    """The parts one after the other."""
    return Markup("".join(escape(part) for part in parts))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], class_: str = "") -> Markup:
    """A table that scrolls by itself when the screen is narrow; the first column is text, the others are numbers.

    A cell that is a ready-made <td> (it begins so) is taken as it is.
    """
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [tag("tr", _first(row[0]), *(_cell(cell) for cell in row[1:])) for row in rows]
    return tag("div", tag("table", tag("thead", top), tag("tbody", *body), class_=class_ or None), class_="scroll")


def _first(cell: object) -> Markup:
    return tag("th", cell, scope="row")


def _cell(cell: object) -> Markup:
    return cell if isinstance(cell, Markup) and cell.startswith("<td") else tag("td", cell)


def count(number: float | None) -> str:
    """Three significant digits and a prefix: 940, 12.3 k, 1.24 M, 3.0 B."""
    if number is None or not math.isfinite(number):
        return DASH
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            scaled = number / (1e3 if unit == "k" else size)
            digits = 2 if scaled < 10 else 1 if scaled < 100 else 0
            return f"{scaled:.{digits}f}{HOLD}{unit}"
    return exact(round(number)) if number == int(number) or number >= 100 else f"{number:.3g}"


def exact(number: int) -> str:
    """All its digits, in groups of three: what is to be added up by who reads it."""
    return f"{number:,}".replace(",", HOLD)


def duration(seconds: float | None) -> str:
    """The two largest units: 8.3 s, 5 min 12 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if round(seconds) < 60:
        return f"{seconds:.1f}{HOLD}s" if seconds < 10 else f"{seconds:.0f}{HOLD}s"
    total = round(seconds)
    for unit, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= unit:
            return HOLD.join((str(total // unit), name, str(total % unit // smaller), small_name))
    raise AssertionError("60 s and more are at least a minute")


def points(fraction: float | None, sign: bool = False) -> str:
    """A score as papers print it, times 100 with one decimal; with `sign`, always with + or −."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    return f"{100 * fraction:{'+' if sign else ''}.1f}".replace("-", "−")


def percent(fraction: float | None) -> str:
    """A share: 97.5 %. What is not nothing is not told as 0.0 %, and what is not all not as 100.0 %."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    if 0 < fraction < 0.0005:
        return f"<{HOLD}0.1{HOLD}%"
    if 0.9995 <= fraction < 1:
        return f">{HOLD}99.9{HOLD}%"
    return f"{100 * fraction:.1f}{HOLD}%"


def facts_list(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Short facts, (name, value) each; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value != DASH]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in known), class_="facts")


def bar(shares: Iterable[tuple[str, float]], label: str) -> Markup:
    """One horizontal bar of stacked pieces, (colour class, share of the whole) each; `label` says it in words."""
    pieces = [tag("i", class_=colour, style=f"width:{100 * share:.2f}%") for colour, share in shares if share > 0]
    return tag("span", *pieces, class_="bar", role="img", aria_label=label, title=label)


def legend(names: Iterable[tuple[str, object]]) -> Markup:
    """Colour keys, (colour class, name) each."""
    return tag("ul", *(tag("li", tag("i", class_=colour), name) for colour, name in names), class_="legend")


def colour(index: int) -> str:
    """The classes of the colour number `index`; there are eight, then they come again, told apart by a pattern."""
    return f"c{index % 8} again" if index % 16 >= 8 else f"c{index % 8}"
