"""From answers to scores: each benchmark's rule for one answer, and its official figures over all.

    letter("B. a dog", question)               # "B": what an answer is read as
    mme_figures(["yes", "no"], questions)      # {"perception": …, "cognition": …, "existence": …}

An answer that names no choice is wrong; nothing is drawn for it. Knows nothing of files or models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from mm1.eval.episodes import Episode
from mm1.eval.instruct.parsing import mathvista_answer, open_answer_is_right
from mm1.eval.instruct.questions import LETTERS, Question
from mm1.eval.metrics.benchmarks import choice_letter, circular, mme, mme_totals, pope
from mm1.eval.tasks import ItemScore, Part


def letter(answer: str, question: Question) -> str:
    """The letter that an answer names, empty where it names none."""
    return choice_letter(answer, dict(zip(LETTERS, question.choices, strict=False))) or ""


def mmmu_reading(answer: str, question: Question) -> str:
    """Of a choice, the letter; an open answer as it is."""
    return letter(answer, question) if question.choices else answer


def mathvista_reading(answer: str, question: Question) -> str:
    """What MathVista compares with its answer."""
    return mathvista_answer(
        answer, question.choices, question.about.get("answer_type", "text"), question.about.get("precision")
    )


def mmmu_accuracy(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """MMMU: the right letter; of open questions, which are those without a chance, an answer that holds a reference."""
    scores = []
    for output, episode in zip(outputs, episodes, strict=True):
        right = output in episode.references if episode.chance else open_answer_is_right(output, episode.references)
        scores.append(ItemScore(float(right), (Part(episode.kind, float(right), episode.chance),)))
    return scores


def mme_figures(answers: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
    """Points by task, and sums whose tasks are all there; a picture without both its questions does not count."""
    tasks: dict[str, list[tuple[str, bool]]] = {}
    for answer, question in zip(answers, questions, strict=True):
        right = answer == question.references[0].lower()
        tasks.setdefault(question.kind, []).append((question.group, right))
    points = {}
    for task, rows in tasks.items():
        asked = Counter(group for group, _ in rows)
        if kept := [row for row in rows if asked[row[0]] == 2]:
            points[task] = mme(kept)
    return {**mme_totals(points), **points}


def pope_figures(answers: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
    """F1 by set and its mean, which papers print; accuracy, precision, recall and the share of yes by set."""
    figures: dict[str, float] = {}
    kinds = list(dict.fromkeys(question.kind for question in questions))
    for kind in kinds:
        rows = [(a, q.references[0]) for a, q in zip(answers, questions, strict=True) if q.kind == kind]
        found = pope([answer for answer, _ in rows], [label for _, label in rows])
        for name in ("f1", "accuracy", "precision", "recall", "yes"):
            figures[f"{kind} {name}"] = getattr(found, name)
    return {"f1": fmean(figures[f"{kind} f1"] for kind in kinds), **figures}


def circular_figures(answers: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
    """MMBench: questions that are right in every order of their choices, in all and by category."""
    rows = [(q, answer in q.references) for answer, q in zip(answers, questions, strict=True)]
    figures = {"circular": circular((q.group, right) for q, right in rows)}
    for kind in sorted({q.kind for q, _ in rows}):
        figures[f"circular {kind}"] = circular((q.group, right) for q, right in rows if q.kind == kind)
    return figures


def seed_figures(answers: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
    """SEED-Bench: accuracy over all, over the questions of pictures, and over those of videos."""
    rows = [(q.part, float(answer in q.references)) for answer, q in zip(answers, questions, strict=True)]
    groups: Mapping[str, list[float]] = {
        name: [score for part, score in rows if name in ("all", part)] for name in ("all", "image", "video")
    }
    return {name: fmean(scores) for name, scores in groups.items() if scores}
