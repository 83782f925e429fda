"""A small mm1 model that is asked for captions."""

from pathlib import Path

import pytest

from mm1.curation.recaption.checkpoints import CheckpointWriter
from mm1.curation.recaption.writers import Question, Said
from mm1.data import templates
from mm1.eval.chat_api import Answer, NoAnswer
from mm1.eval.model import MM1Model
from mm1.types import Document, Text
from mm1.types import Image as Picture
from tests.curation.recaption.sets import checkpoint
from tests.curation.site import picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "eyes")


@pytest.fixture(scope="module")
def writer(folder: Path) -> CheckpointWriter:
    model = MM1Model.load(folder, max_len=200)
    return CheckpointWriter(model=model, name="eyes", digest="d", max_new_tokens=6, batch=2)


def ask(writer: CheckpointWriter, *questions: Question) -> list[Said]:
    heard: dict[str, Said] = {}
    writer.write({str(number): question for number, question in enumerate(questions)}, heard.__setitem__)
    return [heard[str(number)] for number in range(len(questions))]


def test_answers_are_those_of_the_model_whatever_stands_beside_them(writer: CheckpointWriter) -> None:
    shown = [picture(seed, 40, 30) for seed in range(5)]
    together = ask(writer, *(Question("", data) for data in shown))
    assert together == [ask(writer, Question("", data))[0] for data in shown]
    said = writer.model.generate([Document(id="x", segments=(Picture(shown[3]),))], 6, (templates.STOP,))[0]
    assert isinstance(together[3], Answer)
    assert (together[3].text, together[3].model) == (said, "eyes")


def test_a_question_with_words_is_a_turn_of_a_chat(writer: CheckpointWriter) -> None:
    for data in (None, picture(1, 40, 30)):
        images = () if data is None else (Picture(data),)
        turn = templates.chat_turn((*images, Text("what is it?")), None)
        said = writer.model.generate([Document(id="x", segments=turn)], 6, (templates.STOP,))[0]
        found = ask(writer, Question("what is it?", data))[0]
        assert isinstance(found, Answer)
        assert found.text == said


def test_a_text_that_reached_the_limit_says_so(writer: CheckpointWriter) -> None:
    answers = ask(writer, *(Question("", picture(seed, 40, 30)) for seed in range(6)))
    for answer in answers:
        assert isinstance(answer, Answer)
        ids = writer.model.encoder.tokenizer.encode(answer.text)
        assert (answer.finish_reason == "length") or len(ids) < 7
    assert any(isinstance(answer, Answer) and answer.finish_reason == "length" for answer in answers)


def test_what_can_not_be_asked_is_told_and_the_rest_is_answered(writer: CheckpointWriter) -> None:
    found = ask(writer, Question("", b"no picture"), Question("word " * 300), Question("", picture(1, 40, 30)))
    reasons = [said.reason for said in found if isinstance(said, NoAnswer)]
    assert reasons == ["image unreadable", "prompt too long"]
    assert isinstance(found[2], Answer)
