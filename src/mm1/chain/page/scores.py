"""The report's scores: the table of tasks by shots, the curves, and the kinds of question.

Every score stands with its 95 % interval, what guessing reaches, and what the model reaches with other pictures than
the question's (blind). A score whose interval does not clear both is set in grey: it is no evidence of seeing.
Knows nothing of how scores were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mm1.chain.page.results import Run, Score
from mm1.report.figures import Line, chart
from mm1.report.markup import DASH, Markup, count, legend, points, table, tag, together


@dataclass(frozen=True, slots=True)
class Gain:
    """What shots added to one task: its best score with shots against its score without."""

    before: Score
    after: Score

    @property
    def size(self) -> float:
        return self.after.score - self.before.score

    @property
    def certain(self) -> bool:
        """Whether the two intervals are apart, the one with shots above."""
        return self.after.low > self.before.high


def gain_of(scores: Sequence[Score]) -> Gain | None:
    """The gain of one task's scores; None unless it was asked both without and with shots."""
    without = [score for score in scores if score.shots == 0]
    shot = [score for score in scores if score.shots > 0]
    return Gain(without[0], max(shot, key=lambda score: score.score)) if without and shot else None


def best_gain(run: Run) -> Gain | None:
    """The largest gain from shots whose intervals are apart; None if there is none."""
    gains = [gain for scores in run.tasks.values() if (gain := gain_of(scores)) is not None and gain.certain]
    return max(gains, key=lambda gain: gain.size, default=None)


def score_table(run: Run) -> Markup:
    """Tasks by shots, with gain, chance, blind baseline and n."""
    if not run.scores:
        return tag("p", "Nothing has been evaluated in this run: there is no eval/*.json.", class_="missing")
    shots = sorted({score.shots for score in run.scores})
    best = best_gain(run)
    head = ["Task", *(f"{k} shots" if k != 1 else "1 shot" for k in shots), "Gain", "Chance", "Blind", "n"]
    rows = [_row(scores, shots, best) for scores in run.tasks.values()]
    missing = "" if any(score.blind is not None for score in run.scores) else " The blind baseline was not run."
    note = (
        "Scores times 100; CIDEr, unlike the others, may pass 100. Small figures and strips: bootstrap 95 % interval; "
        "the tick on a strip is the better of chance and blind (every picture replaced by another question's). Grey: "
        "the interval does not clear that tick. Gain: best with shots over none, ringed where it is the run's largest "
        "whose intervals are apart. Bold: a task's best."
    )
    return together([table(head, rows, class_="scores"), tag("p", note + missing, class_="note")])


def _row(scores: Sequence[Score], shots: Sequence[int], best: Gain | None) -> list[object]:
    by_shots = {score.shots: score for score in scores}
    top = max(score.score for score in scores)
    scale = max(1.0, *(score.high for score in scores))
    cells = [_score_cell(by_shots.get(k), top, scale) for k in shots]
    gain = gain_of(scores)
    marked = gain is not None and best is not None and gain.after.task == best.after.task
    name = together([scores[0].task, tag("small", scores[0].metric)])
    chance, blind = (_spread([getattr(score, what) for score in scores]) for what in ("chance", "blind"))
    numbers = tag("td", _spread([float(score.n) for score in scores], count), *_lost(scores))
    return [name, *cells, _gain_cell(gain, marked), chance, blind, numbers]


def _lost(scores: Sequence[Score]) -> list[Markup]:
    """What the scores are without: questions, and shots of prompts that were too long."""
    missing, shortened = max(score.missing for score in scores), max(score.shortened for score in scores)
    said = [f"{missing} missing"] * bool(missing) + [f"{shortened} without their oldest shots"] * bool(shortened)
    return [tag("small", words) for words in said]


def _score_cell(score: Score | None, top: float, scale: float) -> Markup:
    if score is None:
        return tag("td", DASH)
    number = tag("b" if score.score == top else "span", points(score.score))
    spread = "" if score.deviation is None else f" ± {points(score.deviation)} between seeds"
    interval = tag("small", f"{points(score.low)}–{points(score.high)}{spread}")
    strip = tag(
        "span",
        tag("i", style=f"left:{_at(score.low, scale)}%;width:{_at(score.high - score.low, scale)}%"),
        tag("b", style=f"left:{_at(score.score, scale)}%"),
        tag("u", style=f"left:{_at(score.floor, scale)}%"),
        class_="strip",
    )
    return tag("td", number, interval, strip, class_="score" if score.sees else "score unsure")


def _at(value: float, scale: float) -> str:
    return f"{100 * min(max(value / scale, 0.0), 1.0):.1f}"


def _gain_cell(gain: Gain | None, marked: bool) -> Markup:
    if gain is None:
        return tag("td", DASH)
    size = tag("span", points(gain.size, sign=True), class_="gain best" if marked else "gain")
    return tag("td", size, tag("small", f"at {gain.after.shots}"), class_=None if gain.certain else "unsure")


def _spread(values: Sequence[float | None], write: Any = points) -> str:
    """One number if it is the same for all shots, otherwise the smallest and the largest."""
    known = sorted({round(value, 4) for value in values if value is not None})
    return DASH if not known else write(known[0]) if len(known) == 1 else f"{write(known[0])}–{write(known[-1])}"


def shot_curves(run: Run) -> Markup:
    """One small chart a task: score against shots with its interval, chance and blind as broken lines."""
    drawn = [(task, scores) for task, scores in run.tasks.items() if len(scores) > 1]
    if not drawn:
        return tag("p", "No task was asked with more than one number of shots.", class_="missing")
    figures = [tag("figure", tag("figcaption", task), _curve(task, scores)) for task, scores in drawn]
    keys = legend([("c0", "score, 95 % interval"), ("c1 broken", "blind"), ("muted broken", "chance")])
    return together([keys, tag("div", *figures, class_="figures small")])


def _curve(task: str, scores: Sequence[Score]) -> Markup:
    shots = [float(score.shots) for score in scores]
    lines = []
    if all(score.chance is not None for score in scores):
        lines.append(Line(x=shots, y=[score.chance or 0.0 for score in scores], colour=None, dashed=True))
    if all(score.blind is not None for score in scores):
        lines.append(Line(x=shots, y=[score.blind or 0.0 for score in scores], colour=1, dashed=True))
    low, high = [score.low for score in scores], [score.high for score in scores]
    lines.append(Line(x=shots, y=[score.score for score in scores], low=low, high=high, marks=True))
    words = ", ".join(f"{points(score.score)} with {score.shots} shots" for score in scores)
    limits = (0.0, max(1.03, 1.08 * max(high)))
    size = {"width": 230, "height": 140}
    return chart(lines, label=f"{task}: {words}", x_label="shots", x_ticks=shots, y_limits=limits, percent=True, **size)


def kind_tables(run: Run) -> Markup:
    """One small table a task that asks more than one kind of question: kinds by shots."""
    tasks = {task: scores for task, scores in run.tasks.items() if len({k for s in scores for k in s.by_kind}) > 1}
    if not tasks:
        return tag("p", "No task of this run asks more than one kind of question.", class_="missing")
    blocks = [tag("section", tag("h3", task), _kinds(scores)) for task, scores in tasks.items()]
    return tag("div", *blocks, class_="columns")


def _kinds(scores: Sequence[Score]) -> Markup:
    kinds = sorted({kind for score in scores for kind in score.by_kind})
    rows = []
    for kind in kinds:
        cells = [score.by_kind.get(kind, {}) for score in scores]
        chances = _spread([cell.get("chance") for cell in cells])
        numbers = _spread([cell.get("n") for cell in cells], count)
        rows.append([kind, *(_shaded(cell.get("score")) for cell in cells), chances, numbers])
    return table(["Kind", *(str(score.shots) for score in scores), "Chance", "n"], rows, class_="kinds")


def _shaded(score: float | None) -> Markup:
    shade = 0.0 if score is None else min(max(score, 0.0), 1.0)
    return tag("td", points(score), class_="shade", style=f"--shade:{45 * shade:.0f}%")
