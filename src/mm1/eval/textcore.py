"""TextCore: the paper's check that a multimodal model still reads, by lm-eval's own tasks, from files on disk.

    folder/arc_easy/test.jsonl      folder/piqa/validation.parquet      …     rows as their authors publish them

    textcore(model, "name", folder, out)["average"]

lm-eval says how each task is put and scored; only where its rows come from is replaced. A task's folder holds the split
that lm-eval asks, and "train" where there are to be examples. The average is the paper's, over eight: ARC's two parts
are one (which the paper does not say). Knows nothing of how a model computes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from mm1.config import UserError
from mm1.eval.intervals import bootstrap_interval
from mm1.eval.model import MM1Model
from mm1.files import write_atomically


@dataclass(frozen=True, slots=True)
class TextTask:
    """One of lm-eval's tasks."""

    name: str
    config: str
    """Where its description stands among lm-eval's."""
    split: str
    """That is asked."""
    metric: str
    """Whose mean is the score."""
    group: str
    """Tasks of one group are one in the average."""


TASKS = (
    TextTask("arc_easy", "arc/arc_easy.yaml", "test", "acc", "arc"),
    TextTask("arc_challenge", "arc/arc_challenge.yaml", "test", "acc", "arc"),
    TextTask("piqa", "piqa/piqa.yaml", "validation", "acc", "piqa"),
    TextTask("lambada_openai", "lambada/lambada_openai.yaml", "test", "acc", "lambada"),
    TextTask("winogrande", "winogrande/default.yaml", "validation", "acc", "winogrande"),
    TextTask("hellaswag", "hellaswag/hellaswag.yaml", "validation", "acc", "hellaswag"),
    TextTask("sciq", "sciq/sciq.yaml", "test", "acc", "sciq"),
    TextTask("triviaqa", "triviaqa/default.yaml", "validation", "exact_match", "triviaqa"),
    TextTask("webqs", "webqs/webqs.yaml", "test", "exact_match", "webqs"),
)
SUFFIXES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
"""A file's ending, and what datasets calls the format."""


def textcore(
    model: MM1Model,
    name: str,
    folder: Path,
    out: Path,
    shots: int = 0,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Asks the tasks whose files are in `folder`, writes `out`, and returns what stands there.

    Args:
        model: answers.
        name: what tells it from others, for the record.
        folder: a folder a task.
        out: a JSON file: tasks with scores and 95 % intervals, "average", null unless all eight are there, and "limit",
            null where all questions were asked.
        shots: examples, of tasks that have a file "train"; the others have none, and say so.
        limit: so many questions a task; all where None.
        say: told what is done.

    Raises:
        UserError: lm-eval is not installed, there is no folder, no task in it, or rows that are not its authors'.
    """
    if find_spec("lm_eval") is None:
        raise UserError("TextCore is asked through lm-eval: install mm1[eval]")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one with a folder a task, such as arc_easy/test.jsonl in it")
    found = {task: files for task in TASKS if (files := _files(folder / task.name)).get(task.split)}
    if not found:
        looked = ", ".join(f"{task.name}/{task.split}" for task in TASKS)
        raise UserError(f"{folder} holds none of {looked} (.jsonl or .parquet): put a task's file there")
    tasks: dict[str, Any] = {}
    for task, files in found.items():
        say(f"{task.name}, {files[task.split]}")
        tasks[task.name] = _ask(model, task, files, shots if "train" in files else 0, limit)
    result = {
        "average": average({task: values["score"] for task, values in tasks.items()}),
        "tasks": tasks,
        "absent": [task.name for task in TASKS if task not in found],
        "limit": limit,
        "model": name,
        "lm_eval": version("lm_eval"),
    }
    write_atomically(out, (json.dumps(result, indent=2) + "\n").encode())
    return result


def average(scores: Mapping[str, float]) -> float | None:
    """The mean over the groups, a group being the mean of its tasks; None unless every task is there."""
    if any(task.name not in scores for task in TASKS):
        return None
    groups: dict[str, list[float]] = {}
    for task in TASKS:
        groups.setdefault(task.group, []).append(scores[task.name])
    return fmean(fmean(group) for group in groups.values())


def _files(folder: Path) -> dict[str, Path]:
    """Split -> its file."""
    if not folder.is_dir():
        return {}
    return {path.stem: path.resolve() for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}


def _ask(model: MM1Model, task: TextTask, files: Mapping[str, Path], shots: int, limit: int | None) -> dict[str, Any]:
    """A task's score, as a JSON object."""
    with tempfile.TemporaryDirectory() as name, _without_network():
        # Not before it is needed: an extra, and slow to import.
        import lm_eval.tasks
        from lm_eval import simple_evaluate

        from mm1.eval.lm_eval_model import MM1LM

        base = Path(lm_eval.tasks.__file__).parent / task.config
        # JSON is YAML, so that paths need no quoting.
        (Path(name) / "task.yaml").write_text(json.dumps(_description(task, base, files, Path(name) / "cache")))
        asked = MM1LM(model)
        with _its_authors_rows(task, files):
            results = simple_evaluate(
                asked,
                tasks=[task.name],
                num_fewshot=shots,
                limit=limit,
                bootstrap_iters=0,
                task_manager=lm_eval.tasks.TaskManager(include_path=name, include_defaults=False),
            )
    samples = results["samples"][task.name]
    scores = [float(sample[task.metric]) for sample in samples]
    low, high = bootstrap_interval(scores, seed=0)
    return {
        "score": fmean(scores),
        "low": low,
        "high": high,
        "n": len(scores),
        "metric": task.metric,
        "shots": shots,
        "truncated": asked.truncated,
        "version": results["versions"][task.name],
        "file": str(files[task.split]),
    }


def _description(task: TextTask, base: Path, files: Mapping[str, Path], cache: Path) -> dict[str, Any]:
    """lm-eval's own description with rows from the files."""
    splits = {split: files[split] for split in (task.split, "train") if split in files}
    kinds = {SUFFIXES[path.suffix] for path in splits.values()}
    if len(kinds) > 1:
        raise UserError(f"{task.name} has files of two formats, {', '.join(map(str, splits.values()))}: give one")
    here = {f"{split}_split": split if split == task.split else None for split in ("validation", "test")}
    return {
        "include": str(base),
        "task": task.name,
        "dataset_path": kinds.pop(),
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {split: str(path) for split, path in splits.items()},
            "cache_dir": str(cache),
        },
        "training_split": "train" if "train" in splits else None,
        **here,
    }


@contextmanager
def _its_authors_rows(task: TextTask, files: Mapping[str, Path]) -> Iterator[None]:
    """Raises UserError where the files hold no rows, or others than lm-eval's description reads."""
    import datasets  # type: ignore[import-untyped]
    import jinja2

    try:
        yield
    # No file of rows, an empty one, and a row without a value that is wanted, in a template and in code.
    except (datasets.exceptions.DatasetsError, ValueError, StopIteration, jinja2.UndefinedError, KeyError) as error:
        named = " and ".join(str(path) for path in files.values())
        what = (str(error.__cause__ or error) or "no rows").splitlines()[0]
        raise UserError(
            f"{task.name} can not be asked from {named} ({type(error).__name__}: {what}): put its authors' rows there"
        ) from error


@contextmanager
def _without_network() -> Iterator[None]:
    """Nothing is looked for on the hub while it holds."""
    import datasets
    import huggingface_hub

    settings = [datasets.config, huggingface_hub.constants]
    before = [one.HF_HUB_OFFLINE for one in settings]
    try:
        for one in settings:
            one.HF_HUB_OFFLINE = True
        yield
    finally:
        for one, value in zip(settings, before, strict=True):
            one.HF_HUB_OFFLINE = value
