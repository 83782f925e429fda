"""`mm1 judge`: benchmarks of free answers, marked by a model behind an OpenAI-style address."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mm1.chain.finished import checkpoint_folder
from mm1.cli.loading import load
from mm1.cli.options import check_out, prompt_of
from mm1.config import from_json
from mm1.eval.chat_api import ChatClient, ChatConfig
from mm1.eval.instruct.judged import judged

console = Console(highlight=False, soft_wrap=True, markup=False)


def judge(arguments: Namespace) -> None:
    """Answers, marks, and the table of scores."""
    out: Path = arguments.out
    check_out(out)
    asked = {"address": arguments.judge, "model": arguments.judge_model, "key_file": arguments.judge_key_file}
    marker = ChatClient(from_json(ChatConfig, asked, "mm1 judge"))
    prompt = prompt_of(arguments.judge_prompt, "--judge-prompt")
    folder = checkpoint_folder(arguments.checkpoint, arguments.stage)
    loaded = load(folder, arguments)
    result = judged(
        arguments.benchmark, arguments.folder, loaded.model, loaded.name, marker, out, prompt, console.print
    )
    title = f"{result['benchmark']}, marked by {arguments.judge_model}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("", "score", "n"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("all", f"{result['score']:.1f}", str(result["n"]))
    for kind, row in result["by_kind"].items():
        table.add_row(kind, f"{row['score']:.1f}", str(row["n"]))
    console.print(table)
    for reason, count in result["missing"].items():
        console.print(f"{count} questions are in no score: {reason}")
    console.print(f"Scores: {out}, answers and verdicts: {out}l")
