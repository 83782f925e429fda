"""Every chat benchmark by name, and how one becomes a task.

    instruct_task("mme", Path("data/mme"))

The task's score is the mean over its questions; what papers print besides or instead stands among its figures.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm1.config import UserError, fingerprint
from mm1.data.templates import STOP
from mm1.eval.instruct import packed, readers, scoring
from mm1.eval.instruct.questions import SHORT, Figures, InstructTask, Question, Reading, key
from mm1.eval.instruct.readers import Questions
from mm1.eval.metrics.benchmarks import mme_answer, pope_answer
from mm1.eval.official import vqa
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Material, digests
from mm1.eval.tasks import Metric, exact_match, vqa_accuracy

MANY = 40
"""Files of which one hash stands for all in the record."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One chat benchmark."""

    questions: Callable[[Folder], Questions]
    read: Reading = lambda answer, question: answer
    metric: Metric = exact_match
    official: Figures | None = None
    max_new_tokens: int = 16
    note: str = ""
    """Where our way differs from the authors'."""


def _chat(read: Callable[[Folder], Material]) -> Callable[[Folder], Questions]:
    """A few-shot benchmark's questions, put as a chat's."""

    def questions(folder: Folder) -> Questions:
        material = read(folder)
        asked = tuple(
            Question(id=row.id, text=row.question, references=row.answers, kind=row.kind, pictures=(row.picture,),
                     instruction=SHORT)
            for row in material.questions
        )  # fmt: skip
        return Questions(asked, material.split.partition(";")[0], material.files[:2], material.missing)

    return questions


BENCHMARKS: Mapping[str, Benchmark] = {
    "chat_vqav2": Benchmark(questions=_chat(vqa.vqav2), metric=vqa_accuracy),
    "chat_textvqa": Benchmark(
        questions=_chat(vqa.textvqa), metric=vqa_accuracy, note="the prompt holds no words read by a machine (OCR)"
    ),
    "scienceqa": Benchmark(questions=readers.science_qa, read=scoring.letter),
    "mmmu": Benchmark(
        questions=packed.mmmu,
        read=scoring.mmmu_reading,
        metric=scoring.mmmu_accuracy,
        max_new_tokens=64,
        note="an answer that names no choice is wrong, where the official scorer draws one",
    ),
    "mathvista": Benchmark(
        questions=packed.math_vista,
        read=scoring.mathvista_reading,
        max_new_tokens=256,
        note="answers are found by rule, where the official scorer asks a language model",
    ),
    "mme": Benchmark(
        questions=readers.mme, read=lambda answer, question: mme_answer(answer), official=scoring.mme_figures
    ),
    "mmbench": Benchmark(
        questions=packed.mm_bench,
        read=scoring.letter,
        official=scoring.circular_figures,
        note="letters are found by rule, where the official scorer may ask a language model",
    ),
    "seed_bench": Benchmark(questions=readers.seed_bench, read=scoring.letter, official=scoring.seed_figures),
    "pope": Benchmark(
        questions=readers.pope, read=lambda answer, question: pope_answer(answer), official=scoring.pope_figures
    ),
}


def instruct_task(name: str, path: Path, num_questions: int | None = None) -> InstructTask:
    """The task of a benchmark's folder.

    Args:
        name: in BENCHMARKS.
        path: the folder.
        num_questions: so many of the questions, the same ones every time; those that belong together stay so.

    Raises:
        UserError: files are missing or of another kind.
    """
    benchmark, folder = BENCHMARKS[name], Folder(path)
    found = benchmark.questions(folder)
    questions = _limited(found.questions, num_questions)
    if not questions:
        left_out = ", ".join(f"{count} with '{reason}'" for reason, count in found.missing.items()) or "none at all"
        raise UserError(f"{path} has no question that can be asked ({left_out}): is it another benchmark's?")
    conditions = {
        "split": found.split,
        "files": _digests(found.files, path),
        "prompt": "LLaVA-1.5's",
        "note": benchmark.note,
    }
    return InstructTask(
        name=name,
        episodes=tuple(map(key, questions)),
        metric=benchmark.metric,
        stop=(STOP,),
        max_new_tokens=benchmark.max_new_tokens,
        missing=found.missing,
        conditions=conditions,
        questions=questions,
        pictures=Pictures(folder),
        read=benchmark.read,
        official=benchmark.official,
    )


def _limited(questions: tuple[Question, ...], count: int | None) -> tuple[Question, ...]:
    """Whole groups, drawn until there are at least so many questions; in the order of the file."""
    if count is None or count >= len(questions):
        return questions
    sizes = Counter(question.group or question.id for question in questions)
    order = list(sizes)
    random.Random(0).shuffle(order)
    chosen: set[str] = set()
    while sum(sizes[name] for name in chosen) < count:
        chosen.add(order.pop())
    return tuple(question for question in questions if (question.group or question.id) in chosen)


def _digests(files: Sequence[Path], folder: Path) -> dict[str, str]:
    """Of each file, or where they are very many, one of all."""
    if len(files) <= MANY:
        return digests(files)
    named = [[str(path.relative_to(folder)), *digests([path]).values()] for path in files]
    return {f"{len(files)} files": fingerprint(named)}
