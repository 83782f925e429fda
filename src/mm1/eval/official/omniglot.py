r"""n-way k-shot episodes of a folder of classes, as Omniglot's: made-up words for n characters, k drawings of each.

    images_evaluation/Angelic/character01/0965_01.png …      every folder that holds pictures is a class
    ‹drawing› This is dax\n‹drawing› This is wug\n‹drawing› This is          → " dax" or " wug"

What the words mean only the examples say, so without any a guess is right in one of n. `shots` counts drawings a
class. A question (its classes, words and drawing) is the same for every seed, which draws the examples and their order.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mm1.config import UserError, fingerprint
from mm1.data.synthetic.vocabulary import NOVEL_WORDS
from mm1.eval.episodes import Episode, assert_no_leak
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Row
from mm1.eval.official.selection import take
from mm1.eval.official.templates import LABEL
from mm1.eval.tasks import Task, exact_match

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
EVALUATION = "images_evaluation"
"""Omniglot's own held-out alphabets; where there is no such folder, all classes are taken."""


@dataclass(frozen=True, kw_only=True)
class OmniglotTask(Task):
    """`questions` stand in the order of `episodes`."""

    pictures: Pictures = field(repr=False)
    questions: tuple[_Question, ...] = field(repr=False)

    def check_shots(self, shots: int) -> None:
        fewest = min(len(files) for question in self.questions for files in question.files.values())
        if not 0 <= shots < fewest:
            raise UserError(
                f"task '{self.name}' has a class of {fewest} pictures, {shots} a class and one to ask were asked for: "
                f"ask for 0 to {fewest - 1}"
            )

    def has_images(self, number: int, shots: int) -> bool:
        return True

    def identity(self) -> str:
        asked = [[q.asked.id, self.pictures.mark(q.asked.picture), list(q.files)] for q in self.questions]
        return fingerprint([super().identity(), asked])

    def examples_identity(self) -> str:
        files = [[row for files in question.files.values() for row in files] for question in self.questions]
        return fingerprint([[[row.id, self.pictures.mark(row.picture)] for row in rows] for rows in files])

    def episode(self, number: int, shots: int, seed: int) -> Episode:
        question = self.questions[number]
        rng = random.Random(f"{seed}/{self.episodes[number].id}")
        chosen = [
            replace(row, shown=word)
            for word, files in question.files.items()
            for row in take(shots, question.asked, rng.sample(files, len(files)), self.pictures)
        ]
        rng.shuffle(chosen)
        episode = replace(
            self.episodes[number],
            query=LABEL.query(question.asked, self.pictures.read(question.asked)),
            shots=tuple(LABEL.shot(row, self.pictures.read(row)) for row in chosen),
            shot_ids=tuple(row.id for row in chosen),
        )
        assert_no_leak(episode)
        return episode


@dataclass(frozen=True, slots=True)
class _Question:
    asked: Row
    files: dict[str, list[Row]]
    """Word -> the drawings of the class that it names."""


def omniglot_task(name: str, folder: Folder, ways: int, num_questions: int, seeds: tuple[int, ...]) -> OmniglotTask:
    """`num_questions` episodes of `ways` classes each.

    Raises:
        UserError: fewer classes with two pictures, or more ways than words.
    """
    root = folder.path / EVALUATION if (folder.path / EVALUATION).is_dir() else folder.path
    classes = _classes(root, folder.path)
    if len(classes) < ways or ways > len(NOVEL_WORDS):
        raise UserError(
            f"{root} has {len(classes)} folders with two pictures or more, and there are {len(NOVEL_WORDS)} words: "
            f"{ways} ways need as many of both"
        )
    questions, episodes = [], []
    for number in range(num_questions):
        rng = random.Random(f"{name}/{ways}/{number}")
        words = rng.sample(NOVEL_WORDS, ways)
        files = dict(zip(words, (classes[c] for c in rng.sample(sorted(classes), ways)), strict=True))
        right = rng.choice(words)
        questions.append(_Question(rng.choice(files[right]), files))
        episodes.append(
            Episode(
                id=f"{name}/{number}",
                query=(),
                references=(right,),
                kind=f"{ways}-way",
                chance=1 / ways,
                candidates=tuple(f" {word}\n" for word in words),
            )
        )
    conditions: dict[str, Any] = {"split": root.name, "classes": len(classes), "ways": ways, "prompt": LABEL.prompt}
    return OmniglotTask(
        name=name, episodes=tuple(episodes), metric=exact_match, mode="choose", seeds=seeds, conditions=conditions,
        pictures=Pictures(folder), questions=tuple(questions),
    )  # fmt: skip


def _classes(root: Path, folder: Path) -> dict[str, list[Row]]:
    """Class -> its pictures; classes of one picture are left out."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    several = Counter(path.parent for path in paths)
    classes: dict[str, list[Row]] = {}
    for path in paths:
        if several[path.parent] > 1:
            file = str(path.relative_to(folder))
            row = Row(id=file, picture=(file,), answers=(), shown="")
            classes.setdefault(str(path.parent.relative_to(folder)), []).append(row)
    return classes
