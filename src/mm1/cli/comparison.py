"""The paper's table with one's own rows: benchmarks across, models and shots down. Knows nothing of files or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from mm1.config import UserError
from mm1.eval.metrics.benchmarks import meta_average
from mm1.eval.published import COLUMNS, HEADS, Published, rows_for
from mm1.eval.results import Result

OURS = "this model"
CERTAINTY = 14
"""Letters that the last column has at least; where it has no more, what it says is broken between words."""


def comparison(results: Sequence[Result], width: int | None = None) -> list[Table]:
    """One's own rows by shots and way of asking, and below each number of shots the published ones.

    A benchmark of the paper that was asked in another way ("vqav2-nearest") stands in its column, in a row of that
    way; other tasks have columns of their own. Where all columns are wider than `width` there are several tables, each
    with as many benchmarks as fit; None, as in a pipe, is one table however wide.
    """
    shown = [result for result in results if not result.blind]
    asked = {_column(result.task) for result in shown}
    left = [*(name for name in COLUMNS if name in asked), *sorted(asked - set(COLUMNS))]
    tables: list[Table] = []
    while left:
        fit = len(left) if width is None else 1
        while fit < len(left) and _width(shown, left[: fit + 1]) <= (width or 0):
            fit += 1
        tables.append(_block(shown, left[:fit], certainty=True, title=not tables))
        left = left[fit:]
    return tables


def _block(shown: Sequence[Result], columns: Sequence[str], certainty: bool, title: bool) -> Table:
    heads = dict(zip(COLUMNS, HEADS, strict=True))
    said = "Scores in points, ± between seeds" if title else None
    table = Table(title=said, title_justify="left", box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("shots", justify="right", no_wrap=True)
    for name in columns:
        table.add_column(heads.get(name, name), justify="right", no_wrap=True)
    if certainty:
        table.add_column("certainty", min_width=CERTAINTY)
    for shots in sorted({result.shots for result in shown}):
        for way, row in _ways([result for result in shown if result.shots == shots]).items():
            cells = [_own(row[name]) if name in row else "" for name in columns]
            if any(cells):
                table.add_row(f"{OURS}, {way}" if way else OURS, str(shots), *cells, style="bold")
        for published in rows_for(shots):
            _add_published(table, published, columns, certainty)
    return table


def _width(shown: Sequence[Result], columns: Sequence[str]) -> int:
    """Of a block with so many benchmarks, its last column as narrow as can be."""
    unbounded = Console(width=10_000)
    return unbounded.measure(_block(shown, columns, certainty=False, title=False)).maximum + 1 + CERTAINTY


def notes(results: Sequence[Result]) -> list[str]:
    """One line for each result that papers print otherwise, or that not all questions went into, or not all shots."""
    lines = []
    for result in results:
        where = f"{result.task}, {result.shots} shots{', blind' if result.blind else ''}"
        if result.figures:
            lines.append(f"{where}: {', '.join(f'{name} {value:,.4g}' for name, value in result.figures.items())}")
        if result.missing:
            reasons = ", ".join(f"{count} with '{reason}'" for reason, count in result.missing.items())
            count = sum(result.missing.values())
            lines.append(f"{where}: {count:,} of {count + result.n:,} questions are missing ({reasons})")
        if result.shortened:
            lines.append(f"{where}: {result.shortened:,} prompts went without their oldest shots to fit the model")
    return lines


def ratios(results: Sequence[Result], baseline: Sequence[Result], name: str) -> str:
    """A line with the paper's meta-average: the mean, over what both were asked, of score by the baseline's score.

    Raises:
        UserError: they have nothing in common, or the baseline has a score of 0.
    """
    ours, theirs = (
        {f"{result.task} ({result.shots})": result.score for result in side if not result.blind}
        for side in (results, baseline)
    )
    shared = [task for task in ours if task in theirs]
    if not shared:
        raise UserError(
            f"{name} has no result of {', '.join(ours)}, only of {', '.join(theirs) or 'nothing'}: ask it the same"
        )
    mean = meta_average({task: ours[task] for task in shared}, {task: theirs[task] for task in shared})
    left = f"; not there: {', '.join(task for task in ours if task not in theirs)}" if len(shared) < len(ours) else ""
    return f"Mean of ratios to {name}: {mean:.3f} over {', '.join(shared)}{left}"


def _column(task: str) -> str:
    """The benchmark of a task: what stands before the way of asking, if that is one of the paper's."""
    name = task.split("-", 1)[0]
    return name if name in COLUMNS else task


def _ways(results: Sequence[Result]) -> dict[str, dict[str, Result]]:
    """Way of asking -> column -> result."""
    ways: dict[str, dict[str, Result]] = {}
    for result in results:
        column = _column(result.task)
        ways.setdefault(result.task[len(column) + 1 :].replace("-", ", "), {})[column] = result
    return dict(sorted(ways.items()))


def _own(result: Result) -> str:
    score = f"{100 * result.score:.1f}"
    return score if result.deviation is None else f"{score} ± {100 * result.deviation:.1f}"


def _add_published(table: Table, row: Published, columns: Sequence[str], certainty: bool) -> None:
    known: Mapping[str, float | None] = dict(zip(COLUMNS, row.scores, strict=True))
    cells = ["" if (score := known.get(name)) is None else f"{score:.1f}" for name in columns]
    if any(cells):
        shots = "0, 2 of text" if row.text_shots else str(row.shots)
        table.add_row(row.model, shots, *cells, *([row.certainty] if certainty else []))
