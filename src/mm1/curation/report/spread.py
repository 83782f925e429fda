"""How things are spread, as histograms and shares. Knows nothing of what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mm1.curation.statistics import BINS_AN_OCTAVE, Statistics, quantile
from mm1.report.figures import histogram
from mm1.report.markup import Markup, bar, count, exact, percent, tag

_BARS = 48
"""Of a histogram, at most; finer bins are put together."""
_LEAST = 4
"""Up to which the axis of whole numbers goes at least: a single bar would have marks between them."""
_WORDS = 8
"""Words with a row of their own."""


def spreads(statistics: Statistics) -> Markup:
    """One figure a name: sizes on a logarithmic axis, numbers on a plain one, words as rows."""
    figures = [
        *(_sizes(name, counter) for name, counter in statistics.sizes.items() if counter),
        *(_numbers(name, counter) for name, counter in statistics.numbers.items() if counter),
        *(_words(name, counter) for name, counter in statistics.words.items() if counter),
    ]
    if not figures:
        return tag("p", "Nothing was measured.", class_="missing")
    return tag("div", *figures, class_="figures spread")


def _sizes(name: str, counter: Mapping[int, int]) -> Markup:
    some = {place: number for place, number in counter.items() if place >= 0}
    half, most = (count(round(quantile(counter, share))) for share in (0.5, 0.9))
    notes = [f"half of them below {half}, 9 of 10 below {most}"]
    if empty := counter.get(-1, 0):
        notes.append(f"{exact(empty)} are 0")
    if not some:
        return _figure(name, sum(counter.values()), notes, Markup())
    low, high = min(some), max(some)
    merged = next(step for step in (1, 2, 4, 8, 16, 64, 1024) if (high - low) // step < _BARS)
    first = low - low % merged
    places = range(first, high + 1, merged)
    counts = [sum(some.get(place + more, 0) for more in range(merged)) for place in places]
    bounds = [2 ** (place / BINS_AN_OCTAVE) for place in (*places, places[-1] + merged)]
    return _figure(name, sum(counter.values()), notes, histogram(bounds, counts, label=name, log=True))


def _numbers(name: str, counter: Mapping[int, int]) -> Markup:
    most = max(*counter, _LEAST)
    step = -(-(most + 1) // _BARS)
    starts = range(0, most + 1, step)
    counts = [sum(counter.get(start + more, 0) for more in range(step)) for start in starts]
    bounds = [start - 0.5 for start in (*starts, starts[-1] + step)]
    mean = sum(value * number for value, number in counter.items()) / sum(counter.values())
    return _figure(name, sum(counter.values()), [f"{mean:.3g} on average"], histogram(bounds, counts, label=name))


def _words(name: str, counter: Counter[str]) -> Markup:
    whole = counter.total()
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    rows = ordered[:_WORDS]
    if rest := sum(number for _, number in ordered[_WORDS:]):
        rows.append((f"{len(ordered) - _WORDS} others", rest))
    most = max(number for _, number in rows)
    lines = [
        part
        for word, number in rows
        for part in (
            tag("b", word[:40], title=word),
            bar([("c0", number / most)], percent(number / whole)),
            tag("span", percent(number / whole), class_="numbers"),
        )
    ]
    return _figure(name, whole, [], tag("div", *lines, class_="words"))


def _figure(name: str, whole: int, notes: list[str], drawing: Markup) -> Markup:
    said = "; ".join([f"{exact(whole)} in all", *notes])
    return tag("figure", tag("figcaption", name, tag("small", said)), drawing)
