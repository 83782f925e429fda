"""VQAv2: questions meet their answers and pictures by their numbers."""

import json

import pytest

from mm1.config import UserError
from mm1.data import templates
from mm1.types import Document, Image

QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json"


def write_vqa(folder, questions, annotations, name=ANNOTATIONS):
    path = folder / QUESTIONS
    path.write_text(json.dumps({"data_subtype": "train2014", "questions": questions}))
    (folder / name).write_text(json.dumps({"annotations": annotations}))
    return path


@pytest.mark.parametrize("name", [ANNOTATIONS, QUESTIONS.replace("questions", "annotations")])
@pytest.mark.parametrize("picture", ["COCO_train2014_000000000009.jpg", "000000000009.jpg"])
def test_questions_are_answered_about_their_picture(read, tmp_path, name, picture):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / picture).write_bytes(b"nine")
    questions = [{"question_id": n, "image_id": 9, "question": f"What {n}?"} for n in range(2)]
    annotations = [{"question_id": n, "multiple_choice_answer": f"answer {n}", "answers": []} for n in (1, 0)]
    path = write_vqa(tmp_path, questions, annotations, name)
    documents, dropped, _ = read("vqa", path, images=pictures)
    assert documents == [
        Document(
            f"{path.stem}/{n}", templates.answered(templates.question_prompt(Image(b"nine"), f"What {n}?"), answer)
        )
        for n, answer in enumerate(["answer 0", "answer 1"])
    ]
    assert dropped == {}


def test_what_is_no_question_or_has_no_answer_is_dropped(read, tmp_path):
    (tmp_path / "000000000009.jpg").write_bytes(b"nine")
    good = {"question_id": 1, "image_id": 9, "question": "What?"}
    questions = [good, {**good, "question_id": 2}, {**good, "image_id": 10}, {**good, "question": ""}, {}, "question"]
    questions += [{**good, "question_id": 3}, {"question_id": 1, "question": "What?"}]
    annotations = [{"question_id": 1, "multiple_choice_answer": "a"}, {"question_id": 3}, {"question_id": [4]}, "x"]
    documents, dropped, _ = read("vqa", write_vqa(tmp_path, questions, annotations))
    assert len(documents) == 1
    assert dropped == {
        "no answer": 2, "missing image": 1, "no question": 1, "no question_id": 2, "no image_id": 1,
    }  # fmt: skip


def test_questions_without_annotations_are_one_sentence(read, tmp_path):
    path = write_vqa(tmp_path, [], [])
    (tmp_path / ANNOTATIONS).unlink()
    with pytest.raises(UserError, match=rf"has no answers beside it: put its annotations .* as {ANNOTATIONS} or "):
        read("vqa", path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="no answers beside it"):
        read("vqa", tmp_path / "other.json")
