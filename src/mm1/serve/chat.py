"""A conversation with a model: questions of text and pictures in, answers out, each knowing what came before.

    chat = ChatSession(model, chat_turn)
    chat.show(Path("cat.jpg"))
    chat.ask("what is this?")           # "a cat"
    chat.ask("what colour is it?")      # "black"

    document = merged(template(q1, a1) + template(q2, a2) + template(q3, None))

Knows nothing of prompt strings (the template has them), of terminals, or of which model answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from mm1.config import UserError
from mm1.data.image import BadImage, read_image
from mm1.data.templates import STOP, merged
from mm1.eval.model import EvalModel
from mm1.types import Document, Image, Segment, Text

Template: TypeAlias = Callable[[Sequence[Segment], str | None], tuple[Segment, ...]]
"""One exchange as segments, from a question and its answer; for None, a prompt for the answer."""


class ChatSession:
    """One conversation. `history` holds the exchanges that were answered, as segments."""

    def __init__(
        self, model: EvalModel, template: Template, stop: tuple[str, ...] = (STOP,), max_new_tokens: int = 128
    ) -> None:
        """Begins without history; `stop` is what ends an answer in `template`."""
        self.model = model
        self.template = template
        self.stop = stop
        self.max_new_tokens = max_new_tokens
        self.history: tuple[Segment, ...] = ()
        self._shown: tuple[Image, ...] = ()

    def show(self, path: Path) -> None:
        """Puts a picture before the next question.

        Raises:
            UserError: the file can not be read, or is no picture.
        """
        try:
            image = Image(Path(path).read_bytes())
            read_image(image.data, size=1)
        except OSError as error:
            raise UserError(f"{path} can not be read ({error.strerror}): give the path of a picture") from None
        except BadImage as error:
            raise UserError(f"{path} is no picture that can be shown ({error.reason}): give another") from None
        self._shown = (*self._shown, image)

    def ask(self, text: str) -> str:
        """The answer to `text` about the pictures shown since the last question.

        Raises:
            UserError: whatever the model refuses, such as too long a history. The history is then as it was, and the
                pictures are put away.
        """
        question: tuple[Segment, ...] = (*self._shown, Text(text, target=False))
        self._shown = ()
        document = Document(id="chat", segments=merged((*self.history, *self.template(question, None))))
        answer = self.model.generate([document], self.max_new_tokens, self.stop)[0].strip()
        self.history = merged((*self.history, *self.template(question, answer)))
        return answer

    def clear(self) -> None:
        """Forgets the conversation and the pictures."""
        self.history = self._shown = ()
