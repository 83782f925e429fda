"""`summary.json`: the numbers of a run in one file, for people and for scripts.

    {"recipe", "seconds", "stages": {name: {"seconds", "steps", "tokens", "images", …}}, "parameters": {part: n},
     "eval": {task: {shots: {"score", "low", "high", "n", "chance", "blind"?}}}, "environment": {…}}

Knows nothing of how they came about: it gathers what the stages wrote.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import mm1
from mm1.chain.recipe import RecipeConfig
from mm1.eval.results import by_task, read_results
from mm1.files import write_atomically


def write_summary(recipe: RecipeConfig, folder: Path, seconds: dict[str, float], anew: bool = True) -> dict[str, Any]:
    """Gathers the stages' records in `folder` and writes `summary.json`.

    Args:
        recipe: what was run.
        folder: of the run.
        seconds: each stage's wall time.
        anew: whether anything was done in this process; if not, what the numbers were made on stays as it stands.
    """
    stages: dict[str, Any] = {"prepare": {"seconds": seconds["prepare"], **_read(folder / "prepare" / "summary.json")}}
    for name in recipe.stages:
        stages[name] = {**_read(folder / name / "stage.json"), "seconds": seconds[name]}
    if recipe.eval is not None:
        stages["eval"] = {"seconds": seconds["eval"]}
    summary = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "seconds": sum(seconds.values()),
        "stages": stages,
        "parameters": stages["pretrain"]["parameters"],
        "eval": by_task(read_results(folder / "eval")) if recipe.eval is not None else {},
        "environment": environment() if anew else _made_on(folder) or environment(),
    }
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _made_on(folder: Path) -> dict[str, Any] | None:
    """What the summary that stands says of its making; None where there is none, or a damaged one."""
    try:
        made_on = _read(folder / "summary.json")["environment"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return made_on if isinstance(made_on, dict) else None


def environment() -> dict[str, Any]:
    """What numbers of this process are made on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "mm1": mm1.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(["mm1", *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text())
    return values
