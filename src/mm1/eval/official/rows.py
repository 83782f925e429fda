"""One question of a benchmark, and what a folder of files gives: questions, a pool for examples, what was left out.

    Row(id="9", picture=("val2014/COCO_val2014_000000000009.jpg",), question="What is it?", answers=("cake", …), …)

A row that can not be asked is counted with its reason, never silently gone. Knows no format and reads no picture.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mm1.config import UserError
from mm1.files import sha256_of

NO_ANSWER, DUPLICATE, DAMAGED = "no answer", "duplicate id", "damaged row"
"""Why a row is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A picture, perhaps a question, and what people said."""

    id: str
    picture: tuple[str, ...]
    """File names, relative to the benchmark's folder or one inside it; the first that is there counts."""
    answers: tuple[str, ...]
    """What counts as right: the people's answers or captions."""
    shown: str
    """The answer that this row gives as an example."""
    question: str = ""
    kind: str = "all"
    """What scores are also reported by."""
    choices: tuple[str, ...] = ()
    rationale: str = ""
    """How one comes to the answer, in one line, where the file says it."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a benchmark's folder gives."""

    questions: tuple[Row, ...]
    pool: tuple[Row, ...]
    """Rows that may be examples: of the training split, or the questions' own where there is none."""
    split: str
    """Of the questions and of the pool, in words."""
    files: tuple[Path, ...]
    missing: Mapping[str, int] = field(default_factory=dict)
    """Rows of the questions' split that are no questions, by reason."""
    tidy: Callable[[str], str] | None = None
    """What becomes of an answer, where the files decide it."""


def digests(files: Iterable[Path]) -> dict[str, str]:
    """File name -> SHA-256, for the record."""
    return {path.name: sha256_of(path) for path in files}


class Unfit(Exception):
    """A row that is no question; `reason` as above."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Named(Protocol):
    """A row, or a question of another kind."""

    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Named)


def collect(entries: Iterable[Any], make: Callable[[Any], N]) -> tuple[tuple[N, ...], dict[str, int]]:
    """The rows that `make` gives, and how many entries gave none, by reason; of equal ids the first counts."""
    rows: dict[str, N] = {}
    missing: Counter[str] = Counter()
    for entry in entries:
        try:
            row = make(entry)
        except Unfit as error:
            missing[error.reason] += 1
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
            missing[DAMAGED] += 1
        else:
            missing[DUPLICATE] += row.id in rows
            rows.setdefault(row.id, row)
    return tuple(rows.values()), {reason: count for reason, count in missing.items() if count}


def line(text: object) -> str:
    """Text on one line, for an example is one; empty where there is none."""
    return " ".join(text.split()) if isinstance(text, str) else ""


def texts(values: Iterable[object]) -> tuple[str, ...]:
    """The answers as they stand in the file, empty ones among them: how many there are counts.

    Raises:
        Unfit: there is not one that says something.
    """
    # Interned: millions of answers are a few thousand words.
    found = tuple(sys.intern(value) for value in values if isinstance(value, str))
    if not any(map(line, found)):
        raise Unfit(NO_ANSWER)
    return found


def first(answers: Iterable[str]) -> str:
    """The first that says something, on one line."""
    return next(filter(None, map(line, answers)))


class Folder:
    """A benchmark's folder; files are looked for in it and in the folders directly inside."""

    def __init__(self, path: Path) -> None:
        """Raises UserError where there is no folder."""
        if not path.is_dir():
            raise UserError(f"{path} is no folder: give the one that holds the benchmark's files")
        self.path = path
        self.places = (path, *sorted(entry for entry in path.iterdir() if entry.is_dir()))

    def find(self, *names: str) -> Path | None:
        """The first of the files that is there."""
        return next((place / name for name in names for place in self.places if (place / name).is_file()), None)

    def file(self, *names: str) -> Path:
        """The same, where it has to be there.

        Raises:
            UserError: saying what was looked for.
        """
        found = self.find(*names)
        if found is None:
            raise UserError(f"{self.path} has no {' or '.join(names)}, nor has a folder in it: put it there")
        return found


def load(path: Path, kind: type) -> Any:
    """A whole JSON file.

    Raises:
        UserError: it is damaged, or holds something else than a `kind`.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy or download it again") from None
    if not isinstance(value, kind):
        raise UserError(f"{path} holds a JSON {type(value).__name__}, not a {kind.__name__}: is it another file?")
    return value


def part(path: Path, whole: dict[str, Any], key: str) -> list[Any]:
    """The list that stands at `key` of a file's object.

    Raises:
        UserError: nothing, or something else; it names the keys that are there.
    """
    if key not in whole:
        raise UserError(f"{path} has no '{key}', only {', '.join(whole) or 'nothing'}: is it another file?")
    if not isinstance(whole[key], list):
        raise UserError(f"{path} has no list at '{key}': is it another file?")
    found: list[Any] = whole[key]
    return found


def apart(questions: Sequence[Row], pool: Sequence[Row], files: Sequence[Path]) -> None:
    """Refuses a file of questions that are all among the examples: it is the training split under another name.

    Raises:
        UserError: naming the `files` of the questions and of the pool.
    """
    known = {(row.id, row.picture[-1], row.question) for row in pool}
    if questions and all((row.id, row.picture[-1], row.question) in known for row in questions):
        raise UserError(f"{files[0]} asks only what {files[1]} has too: one of them is of another split")
