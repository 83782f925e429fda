"""Files that are not what they should be: one sentence where nothing can be asked, a count where the rest can."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mm1.config import UserError
from mm1.eval.official.catalog import FewShotConfig, build_tasks
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Row, collect
from mm1.eval.results import Result, by_task
from mm1.eval.runner import evaluate
from tests.eval.official.benchmarks import EACH, picture, write
from tests.eval.official.looking import Looks

QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"
ALL = 2 * EACH


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    """Edits the file's value in place."""
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def ask(folder: Path, name: str = "vqav2", shots: int = 1) -> Result:
    (task,) = build_tasks([(name, folder)], FewShotConfig())
    (result,) = evaluate(Looks(), [task], [shots], folder / "out")
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write("vqav2", tmp_path)


def test_missing_and_broken_pictures_are_counted_and_the_others_scored(folder: Path) -> None:
    first, second, *_ = sorted((folder / "val2014").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-30])
    result = ask(folder)
    assert result.missing == {"missing image": 1, "unreadable image": 1}
    assert result.n == ALL - 2
    assert by_task([result])["vqav2"]["1"]["missing"] == 2


def test_a_row_nested_too_deep_is_counted() -> None:
    made, missing = collect(
        ["[" * 100_000, "[]"], lambda text: Row(id=str(json.loads(text)), picture=(), answers=(), shown="")
    )
    assert ([row.id for row in made], missing) == (["[]"], {"damaged row": 1})


def test_examples_without_pictures_are_passed_over(folder: Path) -> None:
    for path in sorted((folder / "train2014").iterdir())[1:]:
        path.unlink()
    model = Looks()
    (task,) = build_tasks([("vqav2", folder)], FewShotConfig())
    (one,) = evaluate(model, [task], [1], folder / "out")
    assert one.n == ALL
    assert {document.images[0].data for document in model.seen} == {picture(100, "dax")}
    with pytest.raises(UserError, match=r"no question of task 'vqav2' could be asked: 8 with 'too few examples'"):
        evaluate(model, [task], [2], folder / "out")


def test_questions_without_answers_duplicate_ids_and_damaged_rows_are_counted(folder: Path) -> None:
    change(folder / ANNOTATIONS, lambda value: value["annotations"].pop())
    change(folder / ANNOTATIONS, lambda value: value["annotations"][0].update(answers=[{"answer": " "}]))
    change(folder / ANNOTATIONS, lambda value: value["annotations"].append("damaged"))
    change(folder / QUESTIONS, lambda value: value["questions"].extend([value["questions"][1], {"image_id": 3}, 7]))
    change(folder / QUESTIONS, lambda value: value["questions"][2].update(question=" "))
    result = ask(folder)
    assert result.missing == {"no answer": 2, "duplicate id": 1, "damaged row": 2, "no question": 1}
    assert result.n == ALL - 3


def test_annotations_of_another_split_are_told_by_their_name_or_by_their_ids(folder: Path) -> None:
    train = (folder / ANNOTATIONS.replace("val", "train")).read_text()
    (folder / ANNOTATIONS).write_text(train)
    with pytest.raises(UserError, match="is of train2014, but named as of val2014: put the right file there"):
        ask(folder)
    change(folder / ANNOTATIONS, lambda value: value.pop("data_subtype"))
    with pytest.raises(UserError, match=r"answers none of the questions .* of different years or splits"):
        ask(folder)


def test_captions_of_another_year(tmp_path: Path) -> None:
    write("coco_captions_val", tmp_path)
    path = tmp_path / "annotations/captions_val2014.json"
    change(path, lambda value: [a.update(image_id=a["image_id"] + 9999) for a in value["annotations"]])
    with pytest.raises(UserError, match="has no caption for any of its pictures: is it of another year or split"):
        ask(tmp_path, "coco_captions_val")


def test_files_that_are_missing_damaged_or_others(folder: Path, tmp_path: Path) -> None:
    (folder / QUESTIONS).rename(folder / "questions.json")
    with pytest.raises(UserError, match=rf"has no {QUESTIONS}, nor has a folder in it: put it there"):
        ask(folder)
    (folder / QUESTIONS).write_text('{"questions": [')
    with pytest.raises(UserError, match="is not valid JSON"):
        ask(folder)
    (folder / QUESTIONS).write_text("[]")
    with pytest.raises(UserError, match="holds a JSON list, not a dict"):
        ask(folder)
    (folder / QUESTIONS).write_text('{"data": []}')
    with pytest.raises(UserError, match="has no 'questions', only data"):
        ask(folder)
    karpathy = tmp_path / "karpathy"
    karpathy.mkdir()
    (karpathy / "dataset_coco.json").write_text('{"images": [{"split": "val"}]}')
    with pytest.raises(UserError, match="has the splits val, but test and train are needed"):
        ask(karpathy, "coco_captions")


def test_a_users_own_lines_may_be_broken(tmp_path: Path) -> None:
    write("multiple_choice", tmp_path)
    good = (tmp_path / "test.jsonl").read_text().splitlines()
    bad = [
        "{",
        "[1]",
        '{"image": "0.png", "question": "q", "choices": ["a", "b"], "answer": "c"}',
        '{"image": "0.png", "question": "q", "choices": ["a", "A"], "answer": "a"}',
        '{"image": "0.png", "choices": ["a", "b"], "answer": 1}',
        '{"question": "q", "choices": ["a", "b"], "answer": 1}',
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(good + bad))
    result = ask(tmp_path, "multiple_choice")
    assert result.n == len(good)
    assert result.missing == {
        "damaged row": 2, "no answer": 1, "choices that do not differ": 1, "no question": 1, "no image": 1,
    }  # fmt: skip
    (tmp_path / "test.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"test.jsonl has no question that can be asked \(1 with 'damaged row'\)"):
        ask(tmp_path, "multiple_choice")


@pytest.mark.parametrize(
    ("name", "questions", "examples"),
    [
        ("coco_captions_val", "annotations/captions_val2014.json", "annotations/captions_train2014.json"),
        ("textcaps", "TextCaps_0.1_val.json", "TextCaps_0.1_train.json"),
        ("textvqa", "TextVQA_0.5.1_val.json", "TextVQA_0.5.1_train.json"),
        ("vizwiz", "Annotations/val.json", "Annotations/train.json"),
        ("gqa", "questions/testdev_balanced_questions.json", "questions/train_balanced_questions.json"),
    ],
)
def test_the_training_file_under_the_questions_name(tmp_path: Path, name: str, questions: str, examples: str) -> None:
    write(name, tmp_path)
    (tmp_path / questions).write_bytes((tmp_path / examples).read_bytes())
    with pytest.raises(UserError, match=r"asks only what .* has too: one of them is of another split"):
        ask(tmp_path, name)


@pytest.mark.parametrize("value", [None, 5, "text", {"a": 1}])
@pytest.mark.parametrize(("file", "key"), [(QUESTIONS, "questions"), (ANNOTATIONS, "annotations")])
def test_something_else_where_a_list_should_be(folder: Path, file: str, key: str, value: object) -> None:
    change(folder / file, lambda whole: whole.update({key: value}))
    with pytest.raises(UserError, match=f"has no list at '{key}': is it another file"):
        ask(folder)


def test_damaged_annotations_are_passed_over(tmp_path: Path) -> None:
    write("ok_vqa", tmp_path)
    path = tmp_path / ANNOTATIONS.removeprefix("v2_")
    change(path, lambda value: value["annotations"][0].update(answers=None))
    change(path, lambda value: value["annotations"].extend(["damaged", {"question_id": [1], "answers": [5]}]))
    assert ask(tmp_path, "ok_vqa").missing == {"damaged row": 1}
    write("textcaps", tmp_path)
    change(tmp_path / "TextCaps_0.1_val.json", lambda value: value["data"].append({"image_id": [1]}))
    assert ask(tmp_path, "textcaps").n == ALL


def test_a_picture_that_was_missing_and_is_there_now_is_asked_about(folder: Path) -> None:
    path = min((folder / "val2014").iterdir())
    data = path.read_bytes()
    path.unlink()
    assert ask(folder).missing == {"missing image": 1}
    path.write_bytes(data)
    assert (ask(folder).missing, ask(folder).n) == ({}, ALL)


def test_vqa_accuracy_is_not_asked_of_a_single_answer(tmp_path: Path) -> None:
    """It leaves one answer out and wants three others, so it would be 0 for whatever the model says."""
    write("vqa", tmp_path)
    text = (tmp_path / "test.jsonl").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    few = [{**entry, "answers": entry["answers"][:1]} for entry in entries[:2]]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, [*few, *entries[2:]])))
    assert ask(tmp_path, "vqa").missing == {"fewer than 4 answers, which suits exact match": 2}
    assert ask(tmp_path, "vqa_exact").n == ALL


@pytest.mark.parametrize("name", ["vqav2", "omniglot"])
def test_another_picture_among_the_examples_is_another_question_of_who_has_any(tmp_path: Path, name: str) -> None:
    """Of as many bytes, so that no size tells."""
    write(name, tmp_path)
    tasks = [build_tasks([(name, tmp_path)], FewShotConfig(num_questions=20))[0] for _ in range(2)]
    rows = tasks[0].pool if name == "vqav2" else [r for q in tasks[0].questions for f in q.files.values() for r in f]
    asked = {row.picture for row in tasks[0].rows} if name == "vqav2" else {q.asked.picture for q in tasks[0].questions}
    path = next(tmp_path / row.picture[0] for row in rows if row.picture not in asked)
    before = tasks[0].identity(), tasks[0].examples_identity()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    after = tasks[1].identity(), tasks[1].examples_identity()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_picture_of_many_bytes_is_told_by_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(100_000))
    marks = set()
    for place in (None, 10, 50_000, 99_990):
        data = bytearray(100_000)
        if place is not None:
            data[place] = 1
        (tmp_path / "a.png").write_bytes(data)
        marks.add(Pictures(Folder(tmp_path)).mark(("a.png",)))
    assert len(marks) == 4
    (tmp_path / "a.png").write_bytes(bytes(100_001))
    assert Pictures(Folder(tmp_path)).mark(("a.png",)) not in marks
    assert Pictures(Folder(tmp_path)).mark(("b.png",)) == ""
