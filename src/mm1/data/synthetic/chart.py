"""Charts with what they show: bars, lines and pies, described in words and asked about, as in DVQA.

    chart = sample_chart(random.Random(0), "train")
    chart.caption      # "a bar chart, apples per city: rome 30, oslo 45, lima 10"
    ask(chart, "largest", rng)

A chart is of `test` when the hash of its numbers says so. Whatever is asked can be read off the picture: values are
multiples of a half of the axis' steps, or stand beside their marks. Knows nothing of pixels (draw_chart.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.scenes import Split, split_of

ChartKind: TypeAlias = Literal["bar", "horizontal bar", "line", "pie"]
KINDS: tuple[ChartKind, ...] = ("bar", "horizontal bar", "line", "pie")

STEP = 10
"""Between two ticks of an axis; values are multiples of half of it."""

COUNTS = (3, 4, 5, 6)
"""Marks of a chart."""

_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("person", words.NAMES),
    ("city", words.CITIES),
    ("food", words.LIKES),
    ("animal", words.PETS),
    ("month", ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
)
_MEASURES = ("sales", "visits", "points", "hours", "votes", "letters", "coins", "books")


@dataclass(frozen=True, slots=True)
class Chart:
    """A measure by label; in a pie the values are shares in percent."""

    kind: ChartKind
    title: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[str, ...]
    """By mark; all the same in a line."""
    values_shown: bool
    """Whether each value is written at its mark."""

    @property
    def caption(self) -> str:
        """What the picture tells: of a pie, the shares only where they are written."""
        pairs = zip(self.labels, self.values, strict=True)
        if self.kind != "pie":
            marks = [f"{label} {value}" for label, value in pairs]
        else:
            marks = [f"{label} {value} %" if self.values_shown else label for label, value in pairs]
        return f"{words.with_article(self.kind)} chart, {self.title}: {', '.join(marks)}"

    @property
    def content(self) -> str:
        """Equal for charts of the same numbers, however they are drawn."""
        return f"{self.title}: {dict(zip(self.labels, self.values, strict=True))}"


def sample_chart(rng: random.Random, split: Split, accept: Callable[[Chart], bool] = lambda chart: True) -> Chart:
    """Draws charts until one belongs to `split` and is accepted."""
    for _ in range(10_000):
        chart = _draw(rng)
        if split_of(chart.content) == split and accept(chart):
            return chart
    raise AssertionError(f"no {split} chart was accepted")


def _draw(rng: random.Random) -> Chart:
    kind = rng.choice(KINDS)
    group, names = rng.choice(_GROUPS)
    count = rng.choice(COUNTS[:-1] if kind == "pie" else COUNTS)
    if group == "month":
        first = rng.randint(0, len(names) - count)
        labels = names[first : first + count]
    else:
        labels = tuple(rng.sample(names, count))
    # No two values are equal, so that there is one largest; those of a pie make 100.
    values = _shares(rng, count) if kind == "pie" else tuple(rng.sample(range(STEP // 2, 10 * STEP, STEP // 2), count))
    colours = tuple(rng.sample(tuple(words.COLOURS), count))
    one_colour = kind == "line" or (kind != "pie" and rng.random() < 0.5)
    return Chart(
        kind=kind,
        title=f"{rng.choice(_MEASURES)} per {group}",
        labels=labels,
        values=values,
        colours=colours[:1] * count if one_colour else colours,
        values_shown=rng.random() < 0.5,
    )


def _shares(rng: random.Random, count: int) -> tuple[int, ...]:
    """Different multiples of 5 with the sum 100; there are up to five such."""
    while True:
        cuts = sorted(rng.sample(range(5, 100, 5), count - 1))
        shares = tuple(high - low for low, high in zip((0, *cuts), (*cuts, 100), strict=True))
        if len(set(shares)) == count:
            return shares


def askable(chart: Chart, kind: str) -> bool:
    """Whether the picture tells: a pie has no axis from which a value could be read."""
    return kind not in ("value", "difference") or chart.kind != "pie" or chart.values_shown


def ask(chart: Chart, kind: str, rng: random.Random) -> tuple[str, str, float]:
    """A question of `kind` about the chart: (question, answer, chance of the best guess)."""
    return QUESTIONS[kind](chart, rng)


def _kind(chart: Chart, rng: random.Random) -> tuple[str, str, float]:
    return "what kind of chart is this?", chart.kind, 1 / len(KINDS)


def _count(chart: Chart, rng: random.Random) -> tuple[str, str, float]:
    mark = {"bar": "bars", "horizontal bar": "bars", "line": "points", "pie": "slices"}[chart.kind]
    return f"how many {mark} are there?", words.COUNTS[len(chart.labels) - 1], 1 / len(COUNTS)


def _value(chart: Chart, rng: random.Random) -> tuple[str, str, float]:
    which = rng.randrange(len(chart.labels))
    return f"what is the value of {chart.labels[which]}?", str(chart.values[which]), 0.0


def _largest(chart: Chart, rng: random.Random) -> tuple[str, str, float]:
    word, best = rng.choice((("largest", max), ("smallest", min)))
    label = chart.labels[chart.values.index(best(chart.values))]
    return f"which has the {word} value?", label, 1 / len(chart.labels)


def _compare(chart: Chart, rng: random.Random) -> tuple[str, str, float]:
    one, other = rng.sample(range(len(chart.labels)), 2)
    larger = max(one, other, key=lambda which: chart.values[which])
    return f"which is larger, {chart.labels[one]} or {chart.labels[other]}?", chart.labels[larger], 1 / 2


def _difference(chart: Chart, rng: random.Random) -> tuple[str, str, float]:
    one, other = rng.sample(range(len(chart.labels)), 2)
    answer = abs(chart.values[one] - chart.values[other])
    return f"what is the difference between {chart.labels[one]} and {chart.labels[other]}?", str(answer), 0.0


QUESTIONS: dict[str, Callable[[Chart, random.Random], tuple[str, str, float]]] = {
    "kind": _kind,
    "count": _count,
    "value": _value,
    "largest": _largest,
    "compare": _compare,
    "difference": _difference,
}
