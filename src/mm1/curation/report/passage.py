"""The funnel as bars: for each unit, how much of what was read passes each step, and what for the rest is dropped.

    page
    extract     ████████████████████████▒   1,204 → 1,180    98.0 %
    text rules  █████████████████▒▒░░·      1,180 →   871    73.8 %

A bar is as long as the share of the first step's things that come in. Knows nothing of samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mm1.curation.funnel import Funnel, FunnelStep
from mm1.report.markup import Markup, bar, colour, exact, legend, percent, table, tag, together

_SHOWN = 6
"""Reasons of a unit with a colour of their own; the others share one."""


def passages(funnel: Funnel) -> Markup:
    """One block a unit."""
    units = dict.fromkeys(step.unit for step in funnel.steps)
    note = (
        "A bar is as long as the share of what was read that comes into its step. Its first part goes on, the other "
        "parts are dropped there. What comes in is what goes on and what is dropped, exactly."
    )
    blocks = [_passage(unit, [step for step in funnel.steps if step.unit == unit]) for unit in units]
    return together([tag("p", note, class_="note"), tag("div", *blocks, class_="passages")])


def _passage(unit: str, steps: Sequence[FunnelStep]) -> Markup:
    colours = _colours(steps)
    whole = max(steps[0].counts.entered, 1)
    rows = [_row(step, whole, colours) for step in steps]
    named = [(name, reason) for reason, name in colours.items() if name != "muted"]
    if "muted" in colours.values():
        named.append(("muted", "other reasons"))
    keys = legend([("kept", "goes on"), *((name, spoken(reason)) for name, reason in named)])
    return tag("section", tag("h3", unit), keys, tag("div", *rows, class_="passage"))


def _colours(steps: Sequence[FunnelStep]) -> dict[str, str]:
    """The colour class of each reason of a unit: the most frequent have their own."""
    sums: dict[str, int] = {}
    for step in steps:
        for reason, number in step.counts.dropped.items():
            sums[reason] = sums.get(reason, 0) + number
    ordered = sorted((reason for reason in sums if sums[reason]), key=lambda reason: (-sums[reason], reason))
    return {reason: colour(place + 1) if place < _SHOWN else "muted" for place, reason in enumerate(ordered)}


def _row(step: FunnelStep, whole: int, colours: dict[str, str]) -> Markup:
    counts = step.counts
    pieces = Counter(kept=counts.kept)
    for reason, name in colours.items():  # in their order; those of one colour are one piece
        pieces[name] += counts.dropped[reason]
    shares = [(name, number / whole) for name, number in pieces.items()]
    said = f"{step.name}: {counts.entered} in, {counts.kept} out"
    share = counts.kept / counts.entered if counts.entered else None
    passed = tag("span", f"{exact(counts.entered)} → {exact(counts.kept)}", class_="numbers")
    rate = tag("span", percent(share), class_="numbers")
    return tag("div", tag("b", step.name), bar(shares, said), passed, rate, class_="row")


def drop_table(funnel: Funnel) -> Markup:
    """Every step with its reasons, the most frequent first, and the shares of what came into the step."""
    rows: list[list[object]] = []
    for step in funnel.steps:
        counts = step.counts
        rows.append(
            [
                together([step.name, " ", tag("small", step.unit)]),
                exact(counts.entered),
                exact(counts.kept),
                exact(counts.dropped.total()),
                percent(counts.dropped.total() / counts.entered if counts.entered else None),
                "",
            ]
        )
        for reason, number in sorted(counts.dropped.items(), key=lambda item: (-item[1], item[0])):
            if number:
                share = number / counts.entered
                name = tag("span", spoken(reason), class_="reason")
                rows.append([name, "", "", exact(number), percent(share), bar([("c1", share)], percent(share))])
    return table(["Step and reason", "in", "out", "dropped", "of what came in", ""], rows, class_="drops")


def spoken(reason: str) -> str:
    """A reason as words."""
    return reason.replace("_", " ")
