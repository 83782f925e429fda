"""What a conversation hands to the model, and what it remembers."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest

from mm1.config import UserError
from mm1.data.encode import DocumentEncoder
from mm1.data.synthetic.pages import Item, Page
from mm1.data.synthetic.source import PageKind, SyntheticConfig, as_chat, make_page
from mm1.data.templates import chat_turn
from mm1.data.tokenizer import train_tokenizer
from mm1.serve.chat import ChatSession
from mm1.types import Document, Image, Text


class Parrot:
    """Answers with its number of answers so far; refuses when told to."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.asked: list[tuple[int, tuple[str, ...]]] = []
        self.refuses = False

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        if self.refuses:
            raise UserError("too long")
        self.documents += documents
        self.asked.append((max_new_tokens, stop))
        return [f" answer {len(self.documents)} "]

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        raise AssertionError("a chat only generates")


def _picture(folder: Path, name: str) -> Path:
    file = io.BytesIO()
    PIL.Image.new("RGB", (9, 9), name).save(file, "PNG")
    path = folder / f"{name}.png"
    path.write_bytes(file.getvalue())
    return path


def _text(document: Document) -> str:
    return "".join("<image>" if isinstance(part, Image) else part.text for part in document.segments)


def test_each_question_stands_after_all_that_was_said(tmp_path: Path) -> None:
    model = Parrot()
    chat = ChatSession(model, chat_turn)
    chat.show(_picture(tmp_path, "red"))
    chat.show(_picture(tmp_path, "blue"))
    assert chat.ask("what?") == "answer 1"
    assert chat.ask("why?") == "answer 2"
    assert _text(model.documents[0]) == "user: <image><image>what?\nassistant:"
    assert _text(model.documents[1]) == ("user: <image><image>what?\nassistant: answer 1\nuser: why?\nassistant:")
    assert [image.data for image in model.documents[1].images] == [
        (tmp_path / f"{name}.png").read_bytes() for name in ("red", "blue")
    ]
    assert model.asked == [(128, ("\n",))] * 2


class Teacher(Parrot):
    """Gives the answers it was made with, one after the other."""

    def __init__(self, answers: Sequence[str]) -> None:
        super().__init__()
        self.answers = answers

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        super().generate(documents, max_new_tokens, stop)
        return [f" {self.answers[len(self.documents) - 1]}\n"]


@pytest.mark.parametrize("page", ["reading", "questions"])
def test_a_chat_asks_with_the_tokens_of_training(page: PageKind, tmp_path: Path) -> None:
    """Every prompt of a conversation is a prefix, token by token, of the document that fine-tuning makes of it."""
    config = SyntheticConfig(name="chat", page=page, num_documents=1, chat=True)
    made = next(made for made in (make_page(config, i, "train", 3) for i in range(99)) if len(_asked(made)) > 1)
    trained = as_chat(replace(made, header=()))
    texts = [part.text for part in trained if isinstance(part, Text)]
    encoder = DocumentEncoder(train_tokenizer(iter(texts * 9), 400, tmp_path / "tokenizer.json"), 4, image_size=8)
    model = Teacher([item.answer for item in _asked(made)])
    chat = ChatSession(model, chat_turn)
    for number, item in enumerate(_asked(made)):
        for image in (part for part in item.prompt if isinstance(part, Image)):
            path = tmp_path / f"{number}.png"
            path.write_bytes(image.data)
            chat.show(path)
        chat.ask(item.question)
    whole = encoder.encode(Document(id="trained", segments=trained)).tokens.tolist()
    for document in model.documents:
        prompt = encoder.encode(document, end=False).tokens.tolist()
        assert prompt == whole[: len(prompt)]
    assert chat.history == trained


def _asked(page: Page) -> list[Item]:
    return [item for item in page.items if item.question and item.asked_in != "test"]


def test_texts_that_a_template_leaves_side_by_side_are_one() -> None:
    model = Parrot()
    chat = ChatSession(model, lambda question, answer: (*question, Text(f" {answer or ''}", target=False)))
    chat.ask("a")
    chat.ask("b")
    assert model.documents[1].segments == (Text("a answer 1b ", target=False),)
    assert chat.history == (Text("a answer 1b answer 2", target=False),)


def test_the_template_and_the_stop_are_the_callers() -> None:
    model = Parrot()
    chat = ChatSession(
        model, lambda question, answer: (Text(f"[{answer}]"), *question), stop=("###",), max_new_tokens=5
    )
    chat.ask("a")
    chat.ask("b")
    assert _text(model.documents[1]) == "[answer 1]a[None]b"
    assert model.asked[0] == (5, ("###",))


def test_clear_forgets_words_and_pictures(tmp_path: Path) -> None:
    model = Parrot()
    chat = ChatSession(model, chat_turn)
    chat.ask("what?")
    chat.show(_picture(tmp_path, "red"))
    chat.clear()
    chat.ask("why?")
    assert _text(model.documents[1]) == "user: why?\nassistant:"


def test_a_refused_question_leaves_no_trace(tmp_path: Path) -> None:
    model = Parrot()
    chat = ChatSession(model, chat_turn)
    chat.ask("what?")
    before = chat.history
    chat.show(_picture(tmp_path, "red"))
    model.refuses = True
    with pytest.raises(UserError, match="too long"):
        chat.ask("why?")
    model.refuses = False
    assert chat.history == before
    chat.ask("and?")
    assert _text(model.documents[1]).endswith("answer 1\nuser: and?\nassistant:")


def test_files_that_are_no_pictures_are_refused_when_shown(tmp_path: Path) -> None:
    chat = ChatSession(Parrot(), chat_turn)
    with pytest.raises(UserError, match=r"cat\.png can not be read \(No such file or directory\)"):
        chat.show(tmp_path / "cat.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png is no picture that can be shown \(unreadable\)"):
        chat.show(tmp_path / "text.png")
    chat.ask("still there?")
    assert not chat.model.documents[0].images
