"""Benchmarks whose files hold the pictures themselves: MMMU and MathVista as parquet, MMBench as a table of base64.

    Accounting/validation-00000-of-00001.parquet   id, question, options (a list, spelled), image_1 … image_7, answer
    testmini-00000-of-00001-….parquet              pid, query, decoded_image, choices, answer, answer_type, precision
    mmbench_dev_20230712.tsv                       index, question, hint, A … D, answer, category, image

Pictures are held in memory, a few hundred MB at most. Knows nothing of prompts' tokens or of scores.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.data.formats import tables
from mm1.data.formats.reading import Drop, Unusable, from_base64, picture
from mm1.eval.instruct.questions import LETTER, LETTERS, SHORT, Question
from mm1.eval.instruct.readers import Questions, right_letter
from mm1.eval.metrics.benchmarks import rotations
from mm1.eval.official.rows import DAMAGED, Folder, Unfit, collect, line
from mm1.types import Image

MMMU_PICTURES = tuple(f"image_{number}" for number in range(1, 8))


def mmmu(folder: Folder) -> Questions:
    """The validation questions of all subjects that are there, by subject."""
    files = sorted(folder.path.rglob("validation-*.parquet"))
    if not files:
        raise UserError(f"{folder.path} has no SUBJECT/validation-*.parquet: give MMMU's folder, a folder a subject")

    def make(item: tuple[Path, Any]) -> Question:
        path, row = item
        choices = tuple(map(str.strip, _spelled(_row(row)["options"]) if row["options"] else ()))
        shown = tuple(picture(row[name], None) for name in MMMU_PICTURES if row.get(name))
        if row["answer"] in ("?", "", None):
            raise Unfit("no answer")
        answers = (right_letter(row["answer"], len(choices)),) if choices else _answers(row["answer"])
        return Question(
            id=str(row["id"]),
            text=row["question"].strip(),
            choices=choices,
            references=answers,
            kind=path.parent.name,
            pictures=shown,
            instruction=LETTER if choices else SHORT,
        )

    names = ("id", "question", "options", "answer", *MMMU_PICTURES)
    questions, missing = collect(((path, row) for path in files for row in _rows(path, names)), _usable(make))
    return Questions(questions, f"validation, {len(files)} subjects", tuple(files), missing)


def _answers(value: str) -> tuple[str, ...]:
    """An open question's answer, or several that are spelled as a list."""
    return _spelled(value) if value.startswith("[") else (value,)


def _spelled(value: str) -> tuple[str, ...]:
    """The members of a list that is spelled as Python's."""
    try:
        return tuple(map(str, ast.literal_eval(value)))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # the last where it is nested too deep
        raise Unfit(DAMAGED) from None


def math_vista(folder: Folder) -> Questions:
    """The testmini questions, put by the file's own `query`, by task."""
    files = sorted(folder.path.rglob("testmini-*.parquet"))
    if not files:
        raise UserError(f"{folder.path} has no testmini-*.parquet: give the folder of MathVista's data")

    def make(row: Any) -> Question:
        choices = tuple(map(str, _row(row)["choices"] or ()))
        precision = row["precision"]
        return Question(
            id=str(row["pid"]),
            # The query spells the choices already.
            text=row["query"].strip(),
            choices=choices,
            references=(str(row["answer"]),),
            kind=str((row.get("metadata") or {}).get("task", "all")),
            pictures=(picture(row["decoded_image"], folder.path),),
            about={
                "answer_type": str(row["answer_type"]),
                **({} if precision is None else {"precision": str(precision)}),
            },
        )

    names = ("pid", "query", "decoded_image", "choices", "answer", "answer_type", "precision", "metadata")
    questions, missing = collect((row for path in files for row in _rows(path, names)), _usable(make))
    return Questions(questions, "testmini", tuple(files), missing)


def mm_bench(folder: Folder) -> Questions:
    """The development set in every order of its choices, by category. The test set's answers only its server has."""
    path = folder.file("mmbench_dev_20230712.tsv", "mmbench_dev_en_20231003.tsv", "MMBench_DEV_EN.tsv", "mmbench.tsv")
    pictures: dict[str, Image] = {}

    def make(row: Mapping[str, str]) -> Question:
        # A row may name the row that has its picture, instead of repeating it.
        data = row["image"]
        pictures[row["index"]] = pictures[data] if data in pictures else from_base64(data)
        choices = tuple(text for letter in "ABCD" if (text := _cell(row, letter)))
        return Question(
            id=row["index"],
            text="\n".join(filter(None, [_cell(row, "hint"), row["question"].strip()])),
            choices=choices,
            references=(right_letter(row["answer"], len(choices)),),
            kind=_cell(row, "category") or "all",
            group=row["index"],
            pictures=(pictures[row["index"]],),
            instruction=LETTER,
        )

    with _cells_of_any_size(), path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if absent := {"index", "question", "image", "answer", "A", "B"} - set(reader.fieldnames or ()):
            raise UserError(
                f"{path} has no column {', '.join(sorted(absent))}: is it another file, or without answers?"
            )
        questions, missing = collect(filter(_is_first, reader), _usable(make))
    asked = tuple(one for question in questions for one in _in_every_order(question))
    return Questions(asked, f"{path.stem}, every order of choices", (path,), missing)


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    """A cell is a picture; csv's limit, which guards other readers, is the whole process's."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _is_first(row: Mapping[str, str]) -> bool:
    """Not one of the other orders that some files spell out at index + 1,000,000: all orders are made here."""
    return not (row["index"] or "").isdigit() or int(row["index"]) < 1_000_000


def _cell(row: Mapping[str, str], name: str) -> str:
    """A cell on one line; the empty ones were written by pandas."""
    text = line(row.get(name))
    return "" if text == "nan" else text


def _in_every_order(question: Question) -> list[Question]:
    """The question once for each rotation of its choices."""
    right = question.choices[LETTERS.index(question.references[0])]
    made = []
    for number, order in enumerate(rotations(len(question.choices))):
        choices = tuple(question.choices[place] for place in order)
        letter = LETTERS[order.index(question.choices.index(right))]
        made.append(replace(question, id=f"{question.id}/{number}", choices=choices, references=(letter,)))
    return made


def _rows(path: Path, names: tuple[str, ...]) -> Iterator[Any]:
    """The rows of a table, with those of the columns that are there; a Drop for what is damaged.

    Raises:
        UserError: it is no table.
    """
    found = tables.columns(path)
    if found is None:
        raise UserError(f"{path} can not be read, its parquet footer is missing or damaged: copy it anew")
    if absent := [name for name in names[:4] if name not in found]:
        raise UserError(f"{path} has no column {', '.join(absent)}, only {', '.join(found)}: is it another file?")
    for _, row in tables.rows(path, [name for name in names if name in found]):
        yield row


def _usable(make: Callable[[Any], Question]) -> Callable[[Any], Question]:
    """`make`, with what a picture can not be as a reason to leave the question out."""

    def made(entry: Any) -> Question:
        try:
            return make(entry)
        except Unusable as error:
            raise Unfit(error.reason) from None

    return made


def _row(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Drop):
        raise Unfit(DAMAGED)
    found: Mapping[str, Any] = row
    return found
