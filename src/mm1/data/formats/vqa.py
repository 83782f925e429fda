"""VQAv2: a JSON file of questions, one of annotations beside it, and a folder of pictures.

    v2_OpenEnded_mscoco_train2014_questions.json
        {"data_subtype": "train2014", "questions": [{"question_id": 1, "image_id": 9, "question": "What is it?"}]}
    v2_mscoco_train2014_annotations.json
        {"annotations": [{"question_id": 1, "multiple_choice_answer": "a cat"}]}

The source is the file of questions; that of annotations has its name with `annotations` for `questions`, with or
without `OpenEnded_`. Pictures are named as COCO names them, with the year's prefix (2014) or without (2017). Both files
are one object, so they are read whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.data import templates
from mm1.data.formats.reading import Drop, Item, ReadOptions, Unusable, document, each, picture_inside, take
from mm1.data.formats.whole_json import is_id, listed, whole_object
from mm1.types import Document, Image


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The questions with their answers; pictures are looked for in `options.images`, or in the file's folder.

    Raises:
        UserError: there are no annotations beside the questions, or a list is not in its file.
    """
    folder = options.images or path.parent
    beside = annotations_of(path)
    try:
        asked, answered = whole_object(path), whole_object(beside)
    except Unusable as error:
        yield Drop(error.reason, str(path))
        return
    answers = {
        row["question_id"]: row.get("multiple_choice_answer")
        for row in listed(beside, answered, "annotations")
        if isinstance(row, dict) and is_id(row.get("question_id"))
    }
    subtype = asked.get("data_subtype")

    def make(where: str, row: Any) -> Document:
        number, question = take(row, "question_id", int), take(row, "question", str).strip()
        answer = answers.get(number)
        if not question or not isinstance(answer, str) or not answer.strip():
            raise Unusable("no question" if not question else "no answer")
        prompt = templates.question_prompt(_picture(folder, subtype, take(row, "image_id", int)), question)
        return document(f"{path.stem}/{number}", templates.answered(prompt, answer.strip()))

    questions = listed(path, asked, "questions")
    yield from each(((f"{path} questions[{place}]", row) for place, row in enumerate(questions)), make)


def annotations_of(path: Path) -> Path:
    """The file of annotations that belongs to a file of questions.

    Raises:
        UserError: there is none; it says what was looked for.
    """
    name = path.name.replace("questions", "annotations")
    names = dict.fromkeys((name.replace("OpenEnded_", ""), name))
    for candidate in names:
        if candidate != path.name and (path.parent / candidate).is_file():
            return path.parent / candidate
    raise UserError(
        f"{path} has no answers beside it: put its annotations into the same folder as {' or '.join(names)}"
    )


def _picture(folder: Path, subtype: object, number: int) -> Image:
    names = [f"{number:012d}.jpg"]
    if isinstance(subtype, str):
        names.insert(0, f"COCO_{subtype}_{number:012d}.jpg")
    for name in names[:-1]:
        try:
            return picture_inside(folder, name)
        except Unusable as error:
            if error.reason != "missing image":
                raise
    return picture_inside(folder, names[-1])
