"""What a run folder says, read once into plain values; what is missing or torn becomes a note, never a crash.

    run/recipe.json               what was to be done
    run/summary.json              recipe, seconds, stages, parameters, eval, environment
    run/STAGE/metrics.jsonl       one object a logged step
    run/STAGE/stage.json          the stage's totals, written when it has finished
    run/eval/*.json               one task and shot count each; the same in run/eval/blind for the blind baseline

Knows nothing of HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm1.config import UserError


@dataclass(frozen=True, slots=True)
class Score:
    """One task at one shot count; scores are fractions (CIDEr may pass 1)."""

    task: str
    shots: int
    score: float
    low: float
    high: float
    n: int
    chance: float | None
    blind: float | None
    """The score with every picture replaced by another episode's."""
    metric: str
    by_kind: Mapping[str, Mapping[str, float]]

    @property
    def floor(self) -> float:
        """What a model that sees nothing reaches: the better of chance and the blind baseline."""
        return max(self.chance or 0.0, self.blind or 0.0)

    @property
    def sees(self) -> bool:
        """Whether the whole 95 % interval lies above the floor."""
        return self.low > self.floor


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training; `facts` is None while it has not finished."""

    name: str
    facts: Mapping[str, Any] | None
    metrics: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]

    def column(self, key: str) -> list[float]:
        """One number of every logged step, NaN where it was not logged."""
        return [_number(row.get(key)) for row in self.metrics]


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder's contents, as far as they are there."""

    folder: Path
    summary: Mapping[str, Any]
    stages: tuple[Stage, ...]
    scores: tuple[Score, ...]
    notes: tuple[str, ...]

    @property
    def tasks(self) -> dict[str, list[Score]]:
        """The scores by task, few shots first; tasks asked with several numbers of shots come first."""
        tasks: dict[str, list[Score]] = {}
        for score in self.scores:
            tasks.setdefault(score.task, []).append(score)
        return dict(sorted(tasks.items(), key=lambda item: len(item[1]) < 2))


def read_run(folder: Path) -> Run:
    """Reads everything but the samples.

    Raises:
        UserError: `folder` does not exist, or holds nothing of a run.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the run folder that `mm1 run` printed")
    notes: list[str] = []
    summary = _read(folder / "summary.json", notes) or {}
    recipe = _read(folder / "recipe.json", notes) or {}
    stages = tuple(_stage(folder, name, summary) for name in _stage_names(folder, summary, recipe))
    scores = _scores(folder, notes)
    if not (summary or stages or scores):
        raise UserError(f"{folder} holds no summary.json, no stage and no scores: give the folder of a run")
    if not summary:
        notes.append("summary.json is not there: the run has not finished, and what follows is its state so far")
    return Run(folder, summary, stages, scores, tuple(notes))


def _stage_names(folder: Path, summary: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """The summary's stages, the recipe's (its members with steps), and any other that has logged; each once."""
    planned = [name for name, value in recipe.items() if isinstance(value, dict) and "steps" in value]
    logged = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
    return list(dict.fromkeys([*summary.get("stages", {}), *planned, *logged]))


def _stage(folder: Path, name: str, summary: Mapping[str, Any]) -> Stage:
    notes: list[str] = []
    facts = _read(folder / name / "stage.json", notes) or summary.get("stages", {}).get(name)
    rows, torn = read_lines(folder / name / "metrics.jsonl")
    if torn:
        notes.append(f"{torn} line(s) of metrics.jsonl cannot be read (a torn write) and are left out")
    # A resumed stage logs the steps after its checkpoint again: the later record is the one that led to the result.
    latest = {int(row["step"]): row for row in rows if "step" in row}
    return Stage(name, facts, tuple(latest[step] for step in sorted(latest)), tuple(notes))


def _scores(folder: Path, notes: list[str]) -> tuple[Score, ...]:
    unseen = _results(folder / "eval/blind", notes)
    blind = {(values["task"], values["shots"]): values["score"] for values in unseen}
    seen = _results(folder / "eval", notes)
    found = [_score(values, blind.get((values["task"], values["shots"]))) for values in seen]
    return tuple(sorted(found, key=lambda score: score.shots))


def _results(folder: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The scores standing in one folder, by file name."""
    found = [values for path in sorted(folder.glob("*.json")) if (values := _read(path, notes)) is not None]
    return [values for values in found if {"task", "shots", "score"} <= set(values)]


def _score(values: Mapping[str, Any], blind: object) -> Score:
    score = _number(values["score"])
    return Score(
        task=str(values["task"]),
        shots=int(values["shots"]),
        score=score,
        low=_number(values.get("low", score)),
        high=_number(values.get("high", score)),
        n=int(values.get("n", 0)),
        chance=_optional(values.get("chance")),
        blind=_optional(blind),
        metric=str(values.get("metric", "")).replace("_", " "),
        by_kind=values.get("by_kind") or {},
    )


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of a JSON-lines file, none if it is not there, and how many lines could not be read."""
    if not path.is_file():
        return [], 0
    rows, torn = [], 0
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            torn += bool(line.strip())
            continue
        rows.append(row)
    return rows, torn


def _read(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None if it is not there or, with a note, if it cannot be read."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        notes.append(f"{path.parent.name}/{path.name} cannot be read as JSON and is left out")
        return None
    return values if isinstance(values, dict) else None


def finite(values: Iterable[float]) -> list[float]:
    """Those that are numbers."""
    return [value for value in values if math.isfinite(value)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _optional(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
