"""The report's stages: what each learned (curves), what it read (mixture), how fast, and where the time went.

    log rows ─► curves: loss by source, accuracies, learning rate, throughput, fill, gradient norm
    stage.json ─► facts, declared and realised mixture, dropped images, time

Knows nothing of scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mm1.chain.page.results import Run, Stage, finite
from mm1.report.figures import Line, chart
from mm1.report.markup import (
    DASH,
    Markup,
    bar,
    colour,
    count,
    duration,
    facts_list,
    legend,
    percent,
    table,
    tag,
    together,
)

ACTIVITIES = ("data", "compute", "optimizer", "checkpoint")
LOGGED = frozenset(
    {"step", "loss", "loss_by_source", "target_tokens_by_source", "learning_rate", "grad_norm", "tokens"}
    | {"target_tokens", "images", "padding", "seconds", "time", "skipped_steps"}
    | {"flops", "flops_per_second", "mfu", "data_pauses"}
)
"""The columns every stage logs; whatever else stands in a row is the objective's own and gets its own curve."""


def stage_sections(run: Run) -> Markup:
    """One section a stage, in the order of the chain; stages that train nothing and only took time are left out."""
    told = [stage for stage in run.stages if stage.metrics or stage.facts is None or len(stage.facts) > 1]
    if not told:
        return tag("p", "No stage has run: there is neither summary.json nor */metrics.jsonl.", class_="missing")
    return together(tag("section", tag("h3", stage.name), *_section(stage), class_="stage") for stage in told)


def _section(stage: Stage) -> list[Markup]:
    if stage.facts is None and not stage.metrics:
        return [tag("p", "This stage has not run.", class_="missing")]
    if not stage.metrics and "documents" in (stage.facts or {}):
        return [_facts(stage), _prepared(stage.facts or {}), _dropped(stage)]
    notes = list(stage.notes)
    if stage.facts is None:
        last = stage.metrics[-1]["step"]
        notes.append(f"stage.json is not there: the stage has not finished; the curves end at its step {last}")
    if not stage.metrics:
        notes.append("metrics.jsonl is not there: no curves")
    missing = [tag("p", note + ".", class_="missing") for note in notes]
    learned = [_loss(stage), _accuracy(stage)] if stage.metrics else []
    large = tag("div", *learned, _mixture(stage), class_="large")
    return [_facts(stage), *missing, large, _small(stage), _dropped(stage)]


def _facts(stage: Stage) -> Markup:
    facts = stage.facts or (stage.metrics[-1] if stage.metrics else {})
    steps = facts.get("steps", facts.get("step"))
    skipped = stage.metrics[-1].get("skipped_steps") if stage.metrics else None
    return facts_list(
        [
            ("time", duration(facts.get("seconds"))),
            ("steps", count(steps)),
            ("documents", count(facts.get("documents"))),
            ("tokens", count(facts.get("tokens"))),
            ("target tokens", count(facts.get("target_tokens"))),
            ("images", count(facts.get("images") or None)),
            ("tokens/s", count(facts.get("tokens_per_second"))),
            ("images/s", count(facts.get("images_per_second") or None)),
            ("packing fill", percent(facts.get("fill"))),
            ("padding computed", percent(facts.get("padding"))),
            ("waiting for data", percent(facts.get("data_share"))),
            ("parameters", count(facts.get("parameters", {}).get("total"))),
            ("precision", str(facts.get("precision", DASH))),
            ("skipped steps", count(skipped) if skipped else DASH),
        ]
    )


def _prepared(facts: Mapping[str, Any]) -> Markup:
    """What was made ready for training, by source."""
    kinds = ("documents", "images", "tokens")
    rows = [[source, *(count(of.get(kind)) for kind in kinds)] for source, of in facts.get("sources", {}).items()]
    return tag("div", table(["Source", *(kind.capitalize() for kind in kinds)], rows), class_="mixture")


def _small(stage: Stage) -> Markup:
    """The curves that tell whether it ran well; those with nothing in them are left out."""
    own = [key for key in _own(stage) if "accuracy" not in key]
    columns = [
        ("learning rate", stage.column("learning_rate")),
        ("tokens/s", _rates(stage, "tokens")),
        ("images/s", _rates(stage, "images")),
        ("padding computed, %", [100 * share for share in stage.column("padding")]),
        ("MFU, %", [100 * share for share in stage.column("mfu")]),
        ("gradient norm", stage.column("grad_norm")),
        *((key.replace("_", " "), stage.column(key)) for key in own),
    ]
    figures = []
    for title, values in columns:
        if any(finite(values)):
            # From zero, so that a dip looks as large as it is.
            limits = (min(0.0, *finite(values)), 1.1 * max(0.0, *finite(values)))
            line = Line(x=stage.column("step"), y=values, colour=5)
            drawn = chart([line], label=f"{stage.name}: {title}", width=165, height=100, y_limits=limits)
            figures.append(tag("figure", tag("figcaption", title), drawn))
    return tag("div", *figures, class_="figures small") if figures else Markup()


def _loss(stage: Stage) -> Markup:
    steps = stage.column("step")
    lines: list[Line] = []
    keys: list[tuple[str, str]] = []
    for number, source in enumerate(_sources(stage)):
        values = [_value(row.get("loss_by_source", {}).get(source)) for row in stage.metrics]
        if any(finite(values)):
            lines.append(Line(x=steps, y=smooth(values), colour=number))
            keys.append((colour(number), source))
    if len(keys) != 1:
        lines.append(Line(x=steps, y=smooth(stage.column("loss")), colour=None, dashed=True))
        keys.append(("muted broken", "all"))
    drawn = chart(lines, label=f"{stage.name}: loss by source", width=430, height=230, x_label="step")
    return tag("figure", tag("figcaption", "loss by source"), legend(keys), drawn)


def _sources(stage: Stage) -> list[str]:
    """All that the stage read, in the mixture's order; a source's place here is its colour in every figure."""
    facts = stage.facts or {}
    logged = (key for row in stage.metrics for key in row.get("loss_by_source", {}))
    return list(dict.fromkeys([*facts.get("declared", {}), *facts.get("realised", {}), *logged]))


def _accuracy(stage: Stage) -> Markup:
    steps = stage.column("step")
    keys = [key for key in _own(stage) if "accuracy" in key]
    if not keys:
        return Markup()
    lines = [Line(x=steps, y=smooth(stage.column(key)), colour=number) for number, key in enumerate(keys)]
    drawn = chart(
        lines, label=f"{stage.name}: accuracy", width=430, height=230, x_label="step", y_limits=(0, 1.02), percent=True
    )
    names = legend((colour(number), key.replace("_", " ")) for number, key in enumerate(keys))
    return tag("figure", tag("figcaption", "accuracy, %"), names, drawn)


def _own(stage: Stage) -> list[str]:
    """The objective's own numbers, in the order of their first appearance."""
    keys = dict.fromkeys(key for row in stage.metrics for key in row)
    return [key for key in keys if key not in LOGGED and any(finite(stage.column(key)))]


def _rates(stage: Stage, key: str) -> list[float]:
    """`key` a second between one logged step and the next; NaN for the first, and where a resume set the clock back."""
    totals, seconds = stage.column(key), stage.column("seconds")
    pairs = zip(pairwise(totals), pairwise(seconds), strict=True)
    return [math.nan, *((b - a) / (t - s) if t > s and b >= a else math.nan for (a, b), (s, t) in pairs)]


def smooth(values: Sequence[float]) -> list[float]:
    """Centred means over a thirtieth of the curve, so that its trend shows; gaps stay gaps."""
    array = np.asarray(values, dtype=np.float64)
    reach = len(array) // 60
    if reach == 0:
        return list(array)
    known = np.isfinite(array)
    kernel = np.ones(2 * reach + 1)
    sums = np.convolve(np.where(known, array, 0.0), kernel, mode="same")
    counts = np.convolve(known.astype(np.float64), kernel, mode="same")
    return list(np.where(known, sums / np.maximum(counts, 1.0), np.nan))


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _mixture(stage: Stage) -> Markup:
    """Declared and realised shares, as two bars and as numbers."""
    facts = stage.facts or {}
    declared, realised = facts.get("declared", {}), facts.get("realised", {})
    sources = _sources(stage)
    if not declared and not realised:
        return tag("p", "The stage's mixture is not recorded.", class_="missing")
    targets = stage.metrics[-1].get("target_tokens_by_source", {}) if stage.metrics else {}
    epochs = facts.get("epochs", {})
    rows = [
        [
            together([tag("i", class_=f"key {colour(number)}"), source]),
            percent(declared.get(source)),
            percent(realised.get(source)),
            f"{epochs[source]:.3g}" if source in epochs else DASH,
            count(targets.get(source)),
        ]
        for number, source in enumerate(sources)
    ]
    bars = [
        tag("div", tag("span", word), bar(_shares(shares, sources), f"{stage.name}: {word} shares"), class_="labelled")
        for word, shares in (("declared", declared), ("realised", realised))
    ]
    numbers = table(["Source", "Declared", "Realised", "Epochs", "Targets"], rows)
    return tag("div", tag("h4", "Mixture"), *bars, numbers, class_="mixture")


def _shares(shares: Mapping[str, float], sources: Sequence[str]) -> list[tuple[str, float]]:
    return [(colour(number), shares.get(source, 0.0)) for number, source in enumerate(sources)]


def _dropped(stage: Stage) -> Markup:
    dropped = (stage.facts or {}).get("dropped", {})
    if not dropped:
        return Markup()
    words = ", ".join(f"{number} ({reason})" for reason, number in dropped.items())
    return tag("p", f"Documents left out or replaced: {words}.", class_="note")


def time_section(run: Run) -> Markup:
    """Where the run's seconds went: by stage, and within each stage by what was being done."""
    spent = {stage.name: float((stage.facts or {}).get("seconds", 0.0)) for stage in run.stages}
    total = max(float(run.summary.get("seconds") or 0.0), sum(spent.values()))
    if total == 0:
        return tag("p", "No finished stage has recorded its time.", class_="missing")
    colours = {name: colour(number) for number, name in enumerate(spent)} | {"everything else": "muted"}
    spent["everything else"] = total - sum(spent.values())
    whole = bar([(colours[name], seconds / total) for name, seconds in spent.items()], "the run's time by stage")
    rows = []
    for name, seconds in spent.items():
        if seconds > 0.005 * total:
            title = together([tag("i", class_=f"key {colours[name]}"), name])
            rows.append(
                [title, duration(seconds), percent(seconds / total), tag("td", _activities(run, name, seconds))]
            )
    keys = legend([*((colour(number), word) for number, word in enumerate(ACTIVITIES)), ("muted", "other")])
    return together([whole, table(["Stage", "Time", "Share", keys], rows, class_="time")])


def _activities(run: Run, name: str, seconds: float) -> Markup:
    times = {stage.name: (stage.facts or {}).get("time", {}) for stage in run.stages}.get(name, {})
    if not times:
        return Markup(DASH)
    known = [(colour(number), times.get(word, 0.0) / seconds) for number, word in enumerate(ACTIVITIES)]
    words = ", ".join(f"{word} {duration(times.get(word, 0.0))}" for word in ACTIVITIES)
    return bar([*known, ("muted", max(0.0, 1.0 - sum(share for _, share in known)))], f"{name}: {words}")
