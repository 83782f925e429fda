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
from types import UnionType
from typing import Any, TypeAlias

from mm1.config import UserError

Shape: TypeAlias = Mapping[str, type | UnionType]
"""Keys of an object and what type their values have."""

STEP: Shape = {"step": int}
STEP_PARTS: Shape = {"loss_by_source": dict, "target_tokens_by_source": dict}
NUMBER = int | float
SUMMARY: Shape = {"recipe": str, "seconds": NUMBER, "stages": dict, "parameters": dict, "environment": dict}
FACTS: Shape = {
    **dict.fromkeys(("seconds", "steps", "documents", "tokens", "target_tokens", "images", "skipped_steps"), NUMBER),
    **dict.fromkeys(("tokens_per_second", "images_per_second", "fill", "padding", "data_share"), NUMBER),
    **dict.fromkeys(("parameters", "declared", "realised", "epochs", "dropped", "time", "sources"), dict),
}
NUMBERS = ("parameters", "declared", "realised", "epochs", "time", "loss_by_source", "target_tokens_by_source")
"""Objects all of whose values are numbers."""
RESULT: Shape = {"task": str, "shots": int, "score": int | float}
RESULT_PARTS: Shape = {"by_kind": dict, "n": int, "missing": dict, "shortened": int}


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
    missing: int = 0
    """Questions that could not be asked, beside the n."""
    shortened: int = 0
    """Prompts that lost their oldest shots to fit the model."""
    deviation: float | None = None
    """Between draws of shots, where there were several."""

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
    evaluation: Path
    """The folder of the scores and their samples."""

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
    summary = _summary(_read(folder / "summary.json", notes) or {}, notes)
    recipe = _read(folder / "recipe.json", notes) or {}
    stages = tuple(_stage(folder, name, summary) for name in _stage_names(folder, summary, recipe))
    scores = _scores(folder / "eval", notes)
    if not (summary or stages or scores):
        raise UserError(f"{folder} holds no summary.json, no stage and no scores: give the folder of a run")
    if not summary:
        notes.append("summary.json is not there: the run has not finished, and what follows is its state so far")
    return Run(folder, summary, stages, scores, tuple(notes), folder / "eval")


def read_evaluation(folder: Path) -> Run:
    """A folder of results alone, as of a run that consists of nothing else.

    Raises:
        UserError: there is no result.
    """
    notes: list[str] = []
    scores = _scores(folder, notes)
    if not scores:
        raise UserError(f"{folder} holds no results (*shot.json): give the folder that an evaluation wrote")
    return Run(folder, {}, (), scores, tuple(notes), folder)


def _stage_names(folder: Path, summary: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """The summary's stages, the recipe's (its members with steps), and any other that has logged; each once."""
    planned = [name for name, value in recipe.items() if isinstance(value, dict) and "steps" in value]
    logged = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
    return list(dict.fromkeys([*summary.get("stages", {}), *planned, *logged]))


def _stage(folder: Path, name: str, summary: Mapping[str, Any]) -> Stage:
    notes: list[str] = []
    facts = _read(folder / name / "stage.json", notes) or summary.get("stages", {}).get(name)
    facts = facts and _fit(facts, FACTS, "stage.json", notes)
    rows, torn = read_lines(folder / name / "metrics.jsonl", STEP, STEP_PARTS)
    rows = [_fit(row, FACTS, "metrics.jsonl", notes) for row in rows]
    if torn:
        notes.append(f"{torn} line(s) of metrics.jsonl cannot be read (a torn write?) and are left out")
    # A resumed stage logs the steps after its checkpoint again: the later record is the one that led to the result.
    latest = {row["step"]: row for row in rows}
    return Stage(name, facts, tuple(latest[step] for step in sorted(latest)), tuple(dict.fromkeys(notes)))


def _summary(values: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The summary as far as it is one."""
    fit = _fit(values, SUMMARY, "summary.json", notes)
    stages = {name: facts for name, facts in (fit.get("stages") or {}).items() if isinstance(facts, dict)}
    return {**fit, "stages": stages} if "stages" in fit else fit


def _fit(values: Mapping[str, Any], shape: Shape, where: str, notes: list[str]) -> dict[str, Any]:
    """The values without those that are of another type than a run writes; a note tells of these."""
    fit = {key: value for key, value in values.items() if value is not None}
    fit = {key: value for key, value in fit.items() if isinstance(value, shape.get(key, object))}
    for key in NUMBERS:
        if isinstance(of := fit.get(key), dict):
            fit[key] = _numbers(of)
    if isinstance(of := fit.get("sources"), dict):
        fit["sources"] = {name: _numbers(counts) for name, counts in of.items() if isinstance(counts, dict)}
    if fit != {key: value for key, value in values.items() if value is not None}:
        notes.append(f"{where} holds values that no run writes, which are left out")
    return fit


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _scores(folder: Path, notes: list[str]) -> tuple[Score, ...]:
    unseen = _results(folder / "blind", notes)
    blind = {(values["task"], values["shots"]): values["score"] for values in unseen}
    seen = _results(folder, notes)
    found = [_score(values, blind.get((values["task"], values["shots"]))) for values in seen]
    return tuple(sorted(found, key=lambda score: score.shots))


def _results(folder: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The scores standing in one folder, by file name."""
    found = []
    for path in sorted(folder.glob("*shot.json")):
        values = _read(path, notes)
        if values is None:
            continue
        if has_shape(values, RESULT, RESULT_PARTS) and all(isinstance(of, dict) for of in _kinds(values).values()):
            found.append(values)
        else:
            notes.append(f"{path.parent.name}/{path.name} does not hold a task, shots and a score, and is left out")
    return found


def _kinds(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return values.get("by_kind") or {}


def _score(values: Mapping[str, Any], blind: object) -> Score:
    score = _number(values["score"])
    return Score(
        task=values["task"],
        shots=values["shots"],
        score=score,
        low=_number(values.get("low", score)),
        high=_number(values.get("high", score)),
        n=values.get("n") or 0,
        chance=_optional(values.get("chance")),
        blind=_optional(blind),
        metric=str(values.get("metric", "")).replace("_", " "),
        by_kind=_kinds(values),
        missing=sum(count for count in (values.get("missing") or {}).values() if isinstance(count, int)),
        shortened=values.get("shortened") or 0,
        deviation=_optional(values.get("deviation")),
    )


def read_lines(path: Path, needed: Shape, optional: Shape) -> tuple[list[dict[str, Any]], int]:
    """The objects of that shape in a JSON-lines file, none if it is not there, and how many other lines it has."""
    if not path.is_file():
        return [], 0
    rows, others = [], 0
    # Not splitlines: what a model said may hold other signs that end lines.
    for line in path.read_text(errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            others += bool(line.strip())
            continue
        if isinstance(row, dict) and has_shape(row, needed, optional):
            rows.append(row)
        else:
            others += 1
    return rows, others


def has_shape(values: Mapping[str, Any], needed: Shape, optional: Shape) -> bool:
    """Whether all that is needed is there, and it and the optional values, null as good as absent, have their types."""
    return all(isinstance(values.get(key), kind) for key, kind in needed.items()) and all(
        isinstance(values[key], kind) for key, kind in optional.items() if values.get(key) is not None
    )


def inside(folder: Path, name: str) -> Path | None:
    """The file `name` of `folder`; None if there is none, or if it leads outside (`..`, an absolute path, a link)."""
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a null byte
        return None


def _read(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None if it is not there or, with a note, if it cannot be read."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        notes.append(f"{path.parent.name}/{path.name} cannot be read as a JSON object and is left out")
        return None
    return values


def finite(values: Iterable[float]) -> list[float]:
    """Those that are numbers."""
    return [value for value in values if math.isfinite(value)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _optional(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
