"""`mm1 score`: a user's own file of answers to numbers. Needs no model, and nothing heavy."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mm1.cli.options import check_out
from mm1.eval.metrics.files import score_captions, score_vqa
from mm1.files import write_atomically

console = Console(highlight=False, soft_wrap=True, markup=False)


def score(arguments: Namespace) -> None:
    """One file; the table shows what papers print (x100), the JSON has fractions."""
    out: Path | None = arguments.out
    check_out(out)
    written: dict[str, Any]
    if arguments.what == "captions":
        captions = score_captions(arguments.file)
        shown, scored, missing, written = captions.scores, captions.scored, captions.missing, captions.to_json()
    else:
        vqa = score_vqa(arguments.file)
        kinds = {f"{kind} {name}": value for kind, named in vqa.by_type.items() for name, value in named.items()}
        shown, scored = {"accuracy": vqa.accuracy, **kinds}, len(vqa.by_question)
        missing, written = vqa.missing, vqa.to_json()
    console.print(_table(shown, scored))
    if missing:
        console.print(f"{missing:,} without an answer or references, left out")
    if out is not None:
        write_atomically(out, (json.dumps(written, indent=2) + "\n").encode())
        console.print(f"Scores as fractions: {out}")


def _table(scores: dict[str, float], scored: int) -> Table:
    table = Table(title=f"{scored:,} answers, x100", title_justify="left", box=None, pad_edge=False)
    table.add_column("score", no_wrap=True)
    table.add_column("", justify="right")
    for name, value in scores.items():
        table.add_row(name, f"{100 * value:.2f}")
    return table
