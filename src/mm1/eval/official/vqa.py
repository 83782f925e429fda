"""Question benchmarks from their own files: VQAv2, OK-VQA, TextVQA, VizWiz, GQA.

    v2_OpenEnded_mscoco_val2014_questions.json
        {"data_subtype", "questions": [{"question_id", "image_id", "question"}]}
    v2_mscoco_val2014_annotations.json
        {"data_subtype", "annotations": [{"question_id", "answers": [{"answer"}], "answer_type"}]}
    TextVQA_0.5.1_val.json                   {"data": [{"question_id", "image_id", "question", "answers": […]}]}
    val.json (VizWiz)                        [{"image", "question", "answers": [{"answer"}], "answer_type"}]
    testdev_balanced_questions.json (GQA)    {id: {"imageId", "question", "answer", "types": {"structural"}}}

As an example, a question shows its commonest answer, the first of equally common ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.eval.official.extraction import Stems
from mm1.eval.official.rows import NO_ANSWER, Folder, Material, Row, Unfit, apart, collect, line, load, part, texts


def vqav2(folder: Folder) -> Material:
    """The validation set, by type of answer; examples come from the training set.

    The paper reports test-dev, whose answers only the benchmark's own server has.
    """
    return _coco_questions(folder, "v2_OpenEnded_mscoco_{}2014_questions.json", "v2_mscoco_{}2014_annotations.json")


def ok_vqa(folder: Folder) -> Material:
    """The validation set, by type of question; answers are stemmed, see `Stems`."""
    material = _coco_questions(
        folder, "OpenEnded_mscoco_{}2014_questions.json", "mscoco_{}2014_annotations.json", kind="question_type"
    )
    annotations = [entry for path in material.files[1::2] for entry in part(path, load(path, dict), "annotations")]
    return replace(material, tidy=Stems.of(annotations))


def _coco_questions(folder: Folder, questions: str, annotations: str, kind: str = "answer_type") -> Material:
    """Two files a split, named by a pattern."""
    files = [folder.file(name.format(split)) for split in ("val", "train") for name in (questions, annotations)]
    asked, missing = _answered(files[0], files[1], "val2014", kind)
    pool, _ = _answered(files[2], files[3], "train2014", kind)
    return Material(asked, pool, "val2014; examples of train2014", tuple(files), missing)


def _answered(questions: Path, annotations: Path, split: str, kind: str) -> tuple[tuple[Row, ...], dict[str, int]]:
    asked, answered = load(questions, dict), load(annotations, dict)
    for path, whole in ((questions, asked), (annotations, answered)):
        if whole.get("data_subtype", split) != split:
            raise UserError(f"{path} is of {whole['data_subtype']}, but named as of {split}: put the right file there")
    entries = part(annotations, answered, "annotations")
    answers = {
        entry["question_id"]: entry
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("question_id"), str | int)
    }

    def make(question: Any) -> Row:
        entry = answers.get(question["question_id"])
        if entry is None:
            raise Unfit(NO_ANSWER)
        said = texts(answer["answer"] for answer in entry["answers"])
        number = question["image_id"]
        return _row(
            question["question_id"], _coco_names(split, number), question["question"], said, str(entry.get(kind, "all"))
        )

    rows = collect(part(questions, asked, "questions"), make)
    if not rows[0]:
        raise UserError(
            f"{annotations} answers none of the questions in {questions}: they are of different years or splits"
        )
    return rows


def _coco_names(split: str, number: int) -> tuple[str, ...]:
    """As the pictures of 2014 are named, and those of 2017."""
    name = f"COCO_{split}_{number:012d}.jpg"
    return (f"{split}/{name}", name, f"{number:012d}.jpg")


def _row(id_: object, picture: tuple[str, ...], question: object, answers: Sequence[str], kind: str) -> Row:
    if not line(question):
        raise Unfit("no question")
    return Row(
        id=str(id_),
        picture=picture,
        question=line(question),
        answers=tuple(answers),
        shown=commonest(answers),
        kind=kind,
    )


def commonest(answers: Iterable[str]) -> str:
    """What an example shows; of equally common answers the first."""
    said = [answer for answer in answers if answer.strip()]
    return line(max(said, key=said.count))  # ten answers: quicker than counting them all


def textvqa(folder: Folder) -> Material:
    """The validation set; examples come from the training set. The prompt holds no words read by a machine (OCR)."""
    paths = folder.file("TextVQA_0.5.1_val.json"), folder.file("TextVQA_0.5.1_train.json")

    def make(entry: Any) -> Row:
        names = (f"train_images/{entry['image_id']}.jpg", f"{entry['image_id']}.jpg")
        return _row(entry["question_id"], names, entry["question"], texts(entry.get("answers") or ()), "all")

    questions, missing = collect(part(paths[0], load(paths[0], dict), "data"), make)
    pool, _ = collect(part(paths[1], load(paths[1], dict), "data"), make)
    apart(questions, pool, paths)
    return Material(questions, pool, "val; examples of train", paths, missing)


def vizwiz(folder: Folder) -> Material:
    """The validation set, by type of answer; examples come from the training set. A picture has one question.

    The paper reports test-dev, whose answers only the benchmark's own server has.
    """
    paths = folder.file("val.json"), folder.file("train.json")

    def read(path: Path) -> tuple[tuple[Row, ...], dict[str, int]]:
        def make(entry: Any) -> Row:
            said = texts(answer["answer"] for answer in entry.get("answers") or ())
            names = (f"{path.stem}/{entry['image']}", entry["image"])
            return _row(entry["image"], names, entry["question"], said, str(entry.get("answer_type", "all")))

        return collect(load(path, list), make)

    questions, missing = read(paths[0])
    pool, _ = read(paths[1])
    apart(questions, pool, paths)
    return Material(questions, pool, "val; examples of train", paths, missing)


def gqa(folder: Folder) -> Material:
    """The balanced test-dev set, by structure of the question; examples come from the balanced training set."""
    paths = folder.file("testdev_balanced_questions.json"), folder.file("train_balanced_questions.json")

    def make(item: tuple[str, Mapping[str, Any]]) -> Row:
        id_, entry = item
        names = (f"images/{entry['imageId']}.jpg", f"{entry['imageId']}.jpg")
        kind = str((entry.get("types") or {}).get("structural", "all"))
        return _row(id_, names, entry["question"], texts([entry.get("answer")]), kind)

    questions, missing = collect(load(paths[0], dict).items(), make)
    pool, _ = collect(load(paths[1], dict).items(), make)
    apart(questions, pool, paths)
    return Material(questions, pool, "testdev balanced; examples of train balanced", paths, missing)
