"""What a model said, out of the samples beside a result: for the same question, to be scored anew.

    kept_answers(folder / "vqav2-4shot.json", asked, task, seeds=(0, 1))     # [Answer(number=0, seed=0, …), …] or None

Samples hold every prompt and raw output, so nothing but the reason is lost of each single question that is missing, and
of these the result has the numbers. Knows nothing of models or metrics.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm1.eval.asking import Answer
from mm1.eval.tasks import Task

SHARED = ("seed", "prompt", "examples", "dropped_shots", "output")
"""What a sample has as an Answer has it."""


def kept_answers(path: Path, asked: str, task: Task, seeds: Sequence[int]) -> list[Answer] | None:
    """Every answer, by seed and number, as `Asking.answers` gives them.

    None where there is no result at `path`, or one of another question than `asked`, or its samples are not whole.
    """
    numbers = {episode.id: number for number, episode in enumerate(task.episodes)}
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if result.get("asked") != asked:
            return None
        with path.with_suffix(".samples.jsonl").open(encoding="utf-8") as file:
            answers = [_answer(sample, numbers[sample["id"]]) for sample in map(json.loads, file)]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # gone, cut short, or of other hands
        return None
    there = Counter(answer.number for answer in answers)
    gone = [number for number in range(len(task.episodes)) if number not in there]
    reasons = list((Counter(result["missing"]) - Counter(task.missing)).elements())
    if any(count != len(seeds) for count in there.values()) or len(gone) != len(reasons):
        return None
    answers += [
        Answer(number=number, seed=seeds[0], missing=reason) for number, reason in zip(gone, reasons, strict=True)
    ]
    return sorted(answers, key=lambda answer: (seeds.index(answer.seed), answer.number))


def _answer(sample: dict[str, Any], number: int) -> Answer:
    values: dict[str, Any] = {key: sample[key] for key in SHARED}
    lists = {key: tuple(sample[key]) for key in ("shot_ids", "images", "image_sha256")}
    return Answer(number=number, **(values | lists))
