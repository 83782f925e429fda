r"""Benchmarks whose free answers a judge marks: their files, how the judge is asked, and how its mark is read.

    BENCHMARKS["mm_vet"].questions(folder)                          # Questions
    BENCHMARKS["mm_vet"].ask(question, "A cat.", VET_PROMPT)        # "Compare …\nWhat is it? | cat | A cat. | "
    BENCHMARKS["mm_vet"].marks("0.5")                               # (0.5,); None for what says no mark

Prompts are worded here, in the official form; the official words are taken from files: LLaVA's rule.json in the folder,
or what the caller has. Knows nothing of models or judges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mm1.config import UserError
from mm1.eval.instruct.questions import Question
from mm1.eval.instruct.readers import Questions
from mm1.eval.official.rows import Folder, Unfit, collect, load

LLAVA_SYSTEM = "You are a helpful and precise assistant who checks the quality of answers."
LLAVA_PROMPT = (
    "Two AI assistants have answered the user's question above, which was asked about an image. What the image shows "
    "is told in the context. Rate helpfulness, relevance, accuracy and level of detail of both answers: each assistant "
    "gets an overall mark from 1 to 10, 10 being best. First write one line with the two marks only, of Assistant 1 "
    "and Assistant 2, with a space between them. Then explain them, without letting the order of the answers matter."
)
VET_SYSTEM = "You mark answers."
VET_PROMPT = (
    "Compare a prediction with the ground truth of a question and give it a mark of correctness. <AND> in the ground "
    "truth means that all its parts have to be in the prediction, <OR> that any one has to. The mark is 0.0 (all "
    "wrong), 0.1, 0.2, … or 1.0 (all right). Write the mark only.\n\n"
    "Question | Ground truth | Prediction | Correctness\n--- | --- | --- | ---"
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A benchmark whose answers are marked."""

    questions: Callable[[Folder], Questions]
    system: str
    ask: Callable[[Question, str, str], str]
    """From a question, the model's answer and the prompt to what the judge is asked."""
    marks: Callable[[str], tuple[float, ...] | None]
    """Out of what it said; None if there are none."""
    total: Callable[[Sequence[tuple[float, ...]]], float]
    """Of the marks of several questions, as papers print it."""
    kinds: Callable[[str], Sequence[str]]
    """The kinds, of a question's, that scores are also reported by."""
    prompt: str


def llava_bench(folder: Folder) -> Questions:
    """The questions with their contexts and the answers of GPT-4 that the model's are compared with."""
    paths = folder.file("questions.jsonl"), folder.file("context.jsonl"), folder.file("answers_gpt4.jsonl")
    asked, contexts, answers = (_lines(path) for path in paths)
    told = {entry.get("image"): entry.get("caption") or entry.get("context") for entry in contexts}
    given = {entry.get("question_id"): entry.get("text") for entry in answers}
    rule = folder.find("rule.json")
    rules = load(rule, dict) if rule else {}

    def make(entry: Mapping[str, Any]) -> Question:
        reference, context = given.get(entry["question_id"]), told.get(entry["image"])
        if not reference or not context:
            raise Unfit("no answer" if not reference else "no context")
        prompt = (rules.get(f"llava_bench_{entry['category']}") or {}).get("prompt", "")
        return Question(
            id=str(entry["question_id"]),
            text=entry["text"].strip(),
            references=(reference,),
            kind=str(entry.get("category", "all")),
            pictures=((f"images/{entry['image']}", entry["image"]),),
            context="\n".join(context) if isinstance(context, list) else str(context),
            about={"prompt": prompt} if prompt else {},
        )

    questions, missing = collect(asked, make)
    return Questions(questions, "the whole", (*paths, *([rule] if rule else [])), missing)


def mm_vet(folder: Folder) -> Questions:
    """The questions with what has to be in an answer, by the capabilities that they need."""
    path = folder.file("mm-vet.json")

    def make(item: tuple[str, Mapping[str, Any]]) -> Question:
        number, entry = item
        return Question(
            id=number,
            text=entry["question"].strip(),
            references=(entry["answer"].strip(),),
            kind=",".join(sorted(entry["capability"])),
            pictures=((f"images/{entry['imagename']}", entry["imagename"]),),
        )

    questions, missing = collect(load(path, dict).items(), make)
    return Questions(questions, "the whole", (path,), missing)


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if text.strip():
            try:
                found.append(dict(json.loads(text)))
            except (ValueError, TypeError):
                raise UserError(f"{path}:{number} is no JSON object: copy or download the file again") from None
    return found


def _llava_ask(question: Question, answer: str, prompt: str) -> str:
    return (
        f"[Context]\n{question.context}\n\n[Question]\n{question.text}\n\n"
        f"[Assistant 1]\n{question.references[0]}\n\n[End of Assistant 1]\n\n"
        f"[Assistant 2]\n{answer}\n\n[End of Assistant 2]\n\n"
        f"[System]\n{question.about.get('prompt', prompt)}\n\n"
    )


def _llava_marks(said: str) -> tuple[float, ...] | None:
    """The two numbers of the first line."""
    words = said.strip().split("\n")[0].replace(",", " ").split()
    try:
        marks = tuple(float(word) for word in words)
    except ValueError:
        return None
    return marks if len(marks) == 2 and all(1 <= mark <= 10 for mark in marks) else None


def _vet_ask(question: Question, answer: str, prompt: str) -> str:
    cells = [" ".join(text.split()) for text in (question.text, question.references[0], answer)]
    return f"{prompt}\n{' | '.join(cells)} | "


def _vet_marks(said: str) -> tuple[float, ...] | None:
    found = re.match(r"\s*(?:\|\s*)?([01](?:\.\d+)?)(?![\d.]*\d)", said)
    return (float(found[1]),) if found and float(found[1]) <= 1 else None


BENCHMARKS: Mapping[str, Judged] = {
    "llava_bench": Judged(
        questions=llava_bench,
        system=LLAVA_SYSTEM,
        ask=_llava_ask,
        marks=_llava_marks,
        total=lambda marks: 100 * sum(ours for _, ours in marks) / sum(theirs for theirs, _ in marks),
        kinds=lambda kind: (kind,),
        prompt=LLAVA_PROMPT,
    ),
    "mm_vet": Judged(
        questions=mm_vet,
        system=VET_SYSTEM,
        ask=_vet_ask,
        marks=_vet_marks,
        total=lambda marks: 100 * fmean(mark for (mark,) in marks),
        kinds=lambda kind: tuple(kind.split(",")),
        prompt=VET_PROMPT,
    ),
}
