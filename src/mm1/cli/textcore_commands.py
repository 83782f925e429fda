"""`mm1 textcore`: what a model's decoder knows of text, by lm-eval's tasks on local files."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mm1.chain.finished import checkpoint_folder
from mm1.cli.loading import load
from mm1.cli.options import at_least, check_out
from mm1.eval.textcore import textcore as ask_textcore

console = Console(highlight=False, soft_wrap=True, markup=False)


def textcore(arguments: Namespace) -> None:
    """The tasks whose files are there, and the average if all are."""
    out: Path = arguments.out
    check_out(out)
    at_least(0, **{"--shots": arguments.shots})
    at_least(1, **{"--limit": arguments.limit})
    folder = checkpoint_folder(arguments.checkpoint, arguments.stage)
    loaded = load(folder, arguments)
    result = ask_textcore(
        loaded.model, loaded.name, arguments.tasks, out, arguments.shots, arguments.limit, console.print
    )
    console.print(_table(result))
    if result["limit"] is not None:
        console.print(f"Of each task {result['limit']:,} questions at most: no score of the whole")
    if result["absent"]:
        console.print(f"No average: {', '.join(result['absent'])} are not there")
    console.print(f"Scores: {out}")


def _table(result: dict[str, Any]) -> Table:
    table = Table(title="TextCore, with 95 % intervals", title_justify="left", box=None, pad_edge=False)
    for column in ("task", "score", "shots", "n", "cut"):
        table.add_column(column, no_wrap=True, justify="left" if column == "task" else "right")
    for name, row in result["tasks"].items():
        cell = f"{row['score']:.3f} ({row['low']:.3f}–{row['high']:.3f})"
        table.add_row(f"{name} {row['metric']}", cell, str(row["shots"]), str(row["n"]), str(row["truncated"]))
    if result["average"] is not None:
        table.add_row("average", f"{result['average']:.3f}", "", "", "")
    return table
