"""What came of a task with one number of shots: the JSON file as a value, and how it follows from the scores.

    folder/vqav2-4shot.json        {"task": "vqav2", "shots": 4, "score": 0.579, "low": …, "by_seed": {"0": …}, …}

Several seeds draw several sets of shots: a question's score is its mean over them, and the interval is one over
questions; how much the shots alone matter is the deviation between seeds. Knows nothing of models or prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mm1.config import UserError
from mm1.eval.intervals import bootstrap_interval
from mm1.eval.tasks import ItemScore, Part
from mm1.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one task gave with one number of shots: the JSON file, as a value."""

    task: str
    shots: int
    score: float
    """Mean over questions and seeds; `low` and `high` are its bootstrap 95 % interval over questions."""
    low: float
    high: float
    n: int
    """Questions that were scored."""
    missing: dict[str, int]
    """Questions that were not, by reason."""
    shortened: int
    """Prompts that lost their oldest shots to fit the model."""
    chance: float
    by_kind: dict[str, dict[str, float]]
    """kind -> {"score", "n", "chance"}; n counts the kind's attributes or questions."""
    by_seed: dict[str, float]
    """Seed of the shots -> score."""
    deviation: float | None
    """Standard deviation of the score between seeds; None for one seed."""
    figures: dict[str, float]
    """What papers print that is no mean over questions: MME's points, POPE's F1, MMBench's circular accuracy."""
    metric: str
    mode: str
    conditions: dict[str, Any]
    """Files, prompt, choice of shots: what the task says of itself."""
    blind: bool
    seed: int
    """Of the interval, and of a blind run's exchange of images."""
    model: str
    version: str
    """Of mm1: its number and a hash of its code."""
    asked: str
    """Hash of the question and of the code that puts and answers it: model name, task, episodes, shots, seed, blind."""
    fingerprint: str
    """The same with the code that scores."""
    seconds: float
    """Of the process that wrote this, since it began or went on."""


def summarise(items: Mapping[int, Sequence[ItemScore]], seed: int) -> dict[str, Any]:
    """The fields of a Result that follow from the scores: by seed of the shots, one a question, in one order."""
    draws = list(items.values())
    scores = [fmean(item.score for item in of_one) for of_one in zip(*draws, strict=True)]
    low, high = bootstrap_interval(scores, seed)
    kinds: dict[str, list[Part]] = {}
    for part in (part for draw in draws for item in draw for part in item.parts):
        kinds.setdefault(part.kind, []).append(part)
    by_seed = {str(drawn): fmean(item.score for item in draw) for drawn, draw in items.items()}
    return {
        "score": fmean(scores),
        "low": low,
        "high": high,
        "n": len(scores),
        "chance": fmean(fmean(part.chance for part in item.parts) for item in draws[0]),
        "by_kind": {
            kind: {
                "score": fmean(part.score for part in parts),
                "n": len(parts) // len(draws),
                "chance": fmean(part.chance for part in parts),
            }
            for kind, parts in sorted(kinds.items())
        },
        "by_seed": by_seed,
        "deviation": stdev(by_seed.values()) if len(by_seed) > 1 else None,
    }


def write_result(result: Result, samples: Sequence[str], path: Path) -> None:
    """The samples first: a result that stands at `path` is complete, and of the samples beside it."""
    path.unlink(missing_ok=True)
    write_atomically(path.with_suffix(".samples.jsonl"), "".join(samples).encode())
    write_atomically(path, (json.dumps(asdict(result), indent=2) + "\n").encode())


def finished(path: Path, fingerprint: str) -> Result | None:
    """The result standing at `path`, if it is whole and answers the question of that fingerprint."""
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # gone, damaged, or of another version
        return None
    return result if result.fingerprint == fingerprint else None


def read_results(folder: Path) -> list[Result]:
    """Every result that `evaluate` wrote to `folder`, blind runs too; by task, few shots first.

    Raises:
        UserError: one of them is damaged, or of another version of mm1.
    """
    paths = [*folder.glob("*shot.json"), *folder.glob("blind/*shot.json")]
    results = []
    for path in paths:
        try:
            results.append(Result(**json.loads(path.read_text())))
        except (ValueError, TypeError):
            raise UserError(f"{path} is no result of this version of mm1: evaluate that model again") from None
    return sorted(results, key=lambda result: (result.task, result.shots, result.blind))


def by_task(results: Sequence[Result]) -> dict[str, dict[str, dict[str, float]]]:
    """The table for `summary.json`: task -> shots -> {"score", "low", "high", "n", "chance", "blind"?, …}.

    "deviation", "missing" and "shortened" are there where there is something to say.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for result in (result for result in results if not result.blind):
        cell = {"score": result.score, "low": result.low, "high": result.high, "n": result.n, "chance": result.chance}
        if result.deviation is not None:
            cell["deviation"] = result.deviation
        if result.missing:
            cell["missing"] = sum(result.missing.values())
        if result.shortened:
            cell["shortened"] = result.shortened
        table.setdefault(result.task, {})[str(result.shots)] = cell
    for result in (result for result in results if result.blind):
        table[result.task][str(result.shots)]["blind"] = result.score
    return table
