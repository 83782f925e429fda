"""Runs a model over tasks and shot counts, and keeps everything that a reader needs to check a score.

    folder/shapes-4shot.json            the score, its interval, chance, scores by kind: written last
    folder/shapes-4shot.samples.jsonl   each question: prompt, raw output, extracted answer, score
    folder/images/3f2a….png             the images of the first samples, named by their content
    folder/blind/…                      the same for a blind run

A result that is there for the same question is read back instead of computed, so an interrupted evaluation goes on
where it stopped. Blind runs give every prompt another episode's images: what a model still scores there it did not
see. Knows nothing of how a model answers, nor of which tasks a recipe runs.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mm1.config import UserError, fingerprint
from mm1.eval.episodes import Episode, blinded, digest_of, prompt
from mm1.eval.intervals import bootstrap_interval
from mm1.eval.tasks import ItemScore, Part, Task
from mm1.files import write_atomically
from mm1.types import Document, Image

if TYPE_CHECKING:
    from mm1.eval.model import EvalModel

Progress: TypeAlias = Callable[[str, int, int, int], None]
"""Called with (task, shots, questions done, questions in all) as a task advances."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one task gave with one number of shots: the JSON file, as a value."""

    task: str
    shots: int
    score: float
    """Mean over the episodes; `low` and `high` are its bootstrap 95 % interval."""
    low: float
    high: float
    n: int
    chance: float
    by_kind: dict[str, dict[str, float]]
    """kind -> {"score", "n", "chance"}; n counts the kind's attributes or questions."""
    metric: str
    mode: str
    blind: bool
    seed: int
    model: str
    fingerprint: str
    """Hash of the question: model name, task, episodes, shots, seed, blind."""
    seconds: float


def evaluate(
    model: EvalModel,
    tasks: Sequence[Task],
    shots: Sequence[int],
    folder: Path,
    seed: int = 0,
    *,
    model_name: str = "",
    blind: bool = False,
    progress: Progress | None = None,
    chunk: int = 64,
    pictured: int = 24,
) -> list[Result]:
    """Evaluates every task with every number of shots into `folder` (`folder/blind` for blind runs).

    Args:
        model: answers prompts; see mm1.eval.model.
        tasks: their names have to differ.
        shots: how many of its shots each episode's prompt gets; each episode needs as many.
        folder: made if it is not there; results standing in it are kept if they answer the same question.
        seed: of the intervals and of the blind runs' exchange of images.
        model_name: what tells this model from another that was evaluated into the same folder.
        blind: whether prompts get the images of other episodes.
        progress: called after every `chunk` questions.
        chunk: questions handed to the model at once.
        pictured: samples whose images are written as files.

    Raises:
        UserError: two tasks of one name, an episode with too few shots, or a blind run without images to exchange.
    """
    if len(set(names := [task.name for task in tasks])) != len(names):
        raise UserError(f"tasks have to have different names, these are {names}: rename the repeated ones")
    folder = folder / "blind" if blind else folder
    folder.mkdir(parents=True, exist_ok=True)
    runs = [(task, k, _prompts(task, k, seed, blind)) for task in tasks for k in shots]
    results = []
    for task, k, prompts in runs:
        digest = _question(task, prompts, seed, model_name)
        path = folder / f"{task.name}-{k}shot.json"
        result = _finished(path, digest)
        if result is None:
            began = time.monotonic()
            outputs = _ask(model, task, k, prompts, progress, chunk)
            items = task.metric([task.extract(output) for output in outputs], task.episodes)
            samples = _samples(task, k, prompts, outputs, items, folder, pictured)
            values = {**_summary(items, task, seed), "shots": k, "blind": blind, "model": model_name}
            result = Result(**values, fingerprint=digest, seconds=time.monotonic() - began)
            _write(result, samples, path)
        results.append(result)
    return results


def _write(result: Result, samples: Sequence[str], path: Path) -> None:
    """The samples first: a result that stands at `path` is complete."""
    write_atomically(path.with_suffix(".samples.jsonl"), "".join(samples).encode())
    write_atomically(path, (json.dumps(asdict(result), indent=2) + "\n").encode())


def by_task(results: Sequence[Result]) -> dict[str, dict[str, dict[str, float]]]:
    """The table for `summary.json`: task -> shots -> {"score", "low", "high", "n", "chance", "blind"?}."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for result in (result for result in results if not result.blind):
        cell = {"score": result.score, "low": result.low, "high": result.high, "n": result.n, "chance": result.chance}
        table.setdefault(result.task, {})[str(result.shots)] = cell
    for result in (result for result in results if result.blind):
        table[result.task][str(result.shots)]["blind"] = result.score
    return table


def read_results(folder: Path) -> list[Result]:
    """Every result that `evaluate` wrote to `folder`, blind runs too; by task, few shots first."""
    paths = [*folder.glob("*shot.json"), *folder.glob("blind/*shot.json")]
    results = [Result(**json.loads(path.read_text())) for path in paths]
    return sorted(results, key=lambda result: (result.task, result.shots, result.blind))


def _prompts(task: Task, shots: int, seed: int, blind: bool) -> list[Document]:
    prompts = [replace(prompt(episode, shots), source=task.name) for episode in task.episodes]
    return blinded(prompts, seed) if blind else prompts


def _question(task: Task, prompts: Sequence[Document], seed: int, model_name: str) -> str:
    """A hash of all that a result depends on, so that a stale file is not taken for an answer."""
    content = hashlib.sha256()
    for episode, document in zip(task.episodes, prompts, strict=True):
        shown = [digest_of(part) if isinstance(part, Image) else part.text for part in document.segments]
        asked = [episode.id, episode.kind, episode.references, episode.candidates, episode.chance, shown]
        required = [[attribute.words, attribute.kind, attribute.chance] for attribute in episode.required]
        content.update(json.dumps([asked, required]).encode())
    how = [task.name, task.metric.__name__, task.mode, task.stop, task.max_new_tokens, task.length_normalised]
    kept = [field.name for field in fields(Result)]
    return fingerprint([kept, how, seed, model_name, content.hexdigest()])


def _finished(path: Path, digest: str) -> Result | None:
    """The result standing at `path`, if it is whole and answers the question `digest`."""
    if not path.exists():
        return None
    values: dict[str, Any] = json.loads(path.read_text())
    return Result(**values) if values.get("fingerprint") == digest else None


def _ask(
    model: EvalModel, task: Task, shots: int, prompts: Sequence[Document], progress: Progress | None, chunk: int
) -> list[str]:
    """The model's raw answer to every prompt, in order."""
    outputs: list[str] = []
    for start in range(0, len(prompts), chunk):
        part = prompts[start : start + chunk]
        if task.mode == "generate":
            answers = model.generate(part, task.max_new_tokens, task.stop)
        else:
            answers = _choose(model, task, part, task.episodes[start : start + chunk])
        assert len(answers) == len(part), f"{len(answers)} answers to {len(part)} prompts of task '{task.name}'"
        outputs += answers
        if progress is not None:
            progress(task.name, shots, len(outputs), len(prompts))
    return outputs


def _choose(model: EvalModel, task: Task, prompts: Sequence[Document], episodes: Sequence[Episode]) -> list[str]:
    """Each episode's most likely candidate."""
    pairs = [(p, candidate) for p, e in zip(prompts, episodes, strict=True) for candidate in e.candidates]
    scores = model.loglikelihood(pairs)
    assert len(scores) == len(pairs), f"{len(scores)} log-likelihoods for {len(pairs)} continuations"
    chosen, start = [], 0
    for episode in episodes:
        candidates = episode.candidates
        values = dict(zip(candidates, scores[start : start + len(candidates)], strict=True))
        assert all(value == value for value in values.values()), f"log-likelihood is NaN in episode '{episode.id}'"
        if task.length_normalised:
            values = {candidate: value / len(candidate.encode()) for candidate, value in values.items()}
        # A tie goes to a pseudo-random candidate: the first one would favour tasks that list the right answer first.
        chosen.append(max(candidates, key=lambda c: (values[c], fingerprint([episode.id, c]))))
        start += len(candidates)
    return chosen


def _summary(items: Sequence[ItemScore], task: Task, seed: int) -> dict[str, Any]:
    """The fields of a Result that follow from the scores."""
    scores = [item.score for item in items]
    low, high = bootstrap_interval(scores, seed)
    kinds: dict[str, list[Part]] = {}
    for part in (part for item in items for part in item.parts):
        kinds.setdefault(part.kind, []).append(part)
    return {
        "task": task.name,
        "score": _mean(scores),
        "low": low,
        "high": high,
        "n": len(scores),
        "chance": _mean([_mean([part.chance for part in item.parts]) for item in items]),
        "by_kind": {
            kind: {
                "score": _mean([part.score for part in parts]),
                "n": len(parts),
                "chance": _mean([part.chance for part in parts]),
            }
            for kind, parts in sorted(kinds.items())
        },
        "metric": task.metric.__name__,
        "mode": task.mode,
        "seed": seed,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _samples(
    task: Task,
    shots: int,
    prompts: Sequence[Document],
    outputs: Sequence[str],
    items: Sequence[ItemScore],
    folder: Path,
    pictured: int,
) -> list[str]:
    """One JSON line a question; writes the images of the first `pictured` into folder/images."""
    lines = []
    rows = zip(task.episodes, prompts, outputs, items, strict=True)
    for number, (episode, document, output, item) in enumerate(rows):
        files = [f"images/{digest_of(image)}{_suffix(image.data)}" for image in document.images]
        if number < pictured:
            _write_images(document.images, [folder / file for file in files])
        sample = {
            "id": episode.id,
            "kind": episode.kind,
            "shots": shots,
            "prompt": _readable(document),
            "images": files if number < pictured else [],
            "image_sha256": [digest_of(image) for image in document.images],
            "output": output,
            "answer": task.extract(output),
            "references": episode.references,
            "required": [attribute.words for attribute in episode.required],
            "candidates": episode.candidates,
            "score": item.score,
        }
        lines.append(json.dumps(sample, ensure_ascii=False) + "\n")
    return lines


def _readable(document: Document) -> str:
    """The prompt as text, ‹image 0›, ‹image 1›, … standing for the images; for eyes only, never parsed."""
    numbers = iter(range(len(document.images)))
    return "".join(
        f"‹image {next(numbers)}›" if isinstance(segment, Image) else segment.text for segment in document.segments
    )


def _write_images(images: Sequence[Image], paths: Sequence[Path]) -> None:
    for image, path in zip(images, paths, strict=True):
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            write_atomically(path, image.data)


_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def _suffix(data: bytes) -> str:
    """The file ending by which a browser knows the format."""
    return next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".bin")
