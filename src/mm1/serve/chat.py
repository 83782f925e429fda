"""A conversation with a model: questions of text and pictures in, answers out, each knowing what came before.

    chat = ChatSession(model, chat_turn, stop=(STOP,))
    chat.ask("what is this?", [Path("cat.jpg")])      # "a cat"
    chat.ask("what colour is it?")                    # "black"

    document = template(q1, a1) + template(q2, a2) + template(q3, None)

Knows nothing of prompt strings (the template has them), of terminals, or of which model answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from mm1.config import UserError
from mm1.eval.model import EvalModel
from mm1.types import Document, Image, Segment, Text

Template: TypeAlias = Callable[[Sequence[Segment], str | None], tuple[Segment, ...]]
"""One exchange as segments, from a question and its answer; for None, a prompt for the answer."""


class ChatSession:
    """One conversation. `history` holds the exchanges that were answered, as segments."""

    def __init__(
        self, model: EvalModel, template: Template, stop: tuple[str, ...], max_new_tokens: int = 128, id: str = "chat"
    ) -> None:
        """Begins without history; `stop` is what ends an answer in `template`, `id` names the document in errors."""
        self.model = model
        self.template = template
        self.stop = stop
        self.max_new_tokens = max_new_tokens
        self.id = id
        self.history: tuple[Segment, ...] = ()

    def ask(self, text: str, images: Sequence[Path] = ()) -> str:
        """The answer to `text` about `images`, which stand before it. A failed question leaves the history as it was.

        Raises:
            UserError: a file can not be read, or whatever the model refuses (a broken image, too long a history).
        """
        question: list[Segment] = [*(_read(path) for path in images), Text(text, target=False)]
        document = Document(id=self.id, segments=(*self.history, *self.template(question, None)))
        answer = self.model.generate([document], self.max_new_tokens, self.stop)[0].strip()
        self.history = (*self.history, *self.template(question, answer))
        return answer

    def reset(self) -> None:
        """Forgets the conversation."""
        self.history = ()


def _read(path: Path) -> Image:
    try:
        return Image(path.read_bytes())
    except OSError as error:
        raise UserError(f"the image {path} can not be read ({error.strerror}): give the path of a picture") from None
