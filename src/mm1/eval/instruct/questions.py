r"""A question of a chat benchmark, how it is put, and the task made of many.

    Question(id="7", text="What is it?", choices=("a cat", "a dog"), references=("B",), …)
    put(question, LETTER)     # "What is it?\nA. a cat\nB. a dog\nAnswer with the option's letter from …"

The wording is LLaVA-1.5's (Liu et al. 2023, arXiv 2310.03744), which the paper's fine-tuned models are said to follow;
pictures stand before the question, or where it says <image 1>, <image 2>, …. Knows no file format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mm1.config import UserError, fingerprint
from mm1.data import templates
from mm1.data.image import BadImage, read_image
from mm1.eval.episodes import Episode, Unaskable, digest_of
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Row
from mm1.eval.tasks import Task
from mm1.types import Image, Segment, Text

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
LETTERS = "ABCDEFGHIJKLMNOP"
"""What choices are called."""
_PLACE = re.compile(r"<image (\d+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question with its pictures."""

    id: str
    text: str
    references: tuple[str, ...]
    """Right answers; of a choice, its letter."""
    kind: str = "all"
    """What scores are also reported by."""
    choices: tuple[str, ...] = ()
    pictures: tuple[tuple[str, ...] | Image, ...] = ()
    """File names, of which the first that is there counts, or the picture itself."""
    instruction: str = ""
    """The last line."""
    chance: float = 0.0
    """Of a guesser who knows the format."""
    group: str = ""
    """Questions that are judged together, such as the two about a picture of MME."""
    part: str = ""
    """Of the benchmark, where figures are printed of parts: SEED-Bench's "image" and "video"."""
    context: str = ""
    """What a judge is told of the picture."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What the answer is read by, where files say it: MathVista's answer_type and precision."""


Reading: TypeAlias = Callable[[str, Question], str]
"""What an answer is taken as: the letter that it names, yes or no, a number."""
Figures: TypeAlias = Callable[[Sequence[str], Sequence[Question]], dict[str, float]]
"""From answers and their questions to the figures that papers print."""


@dataclass(frozen=True, kw_only=True)
class InstructTask(Task):
    """`questions` stand in the order of `episodes`, which have no pictures until they are asked."""

    questions: tuple[Question, ...] = field(repr=False)
    pictures: Pictures = field(repr=False)
    read: Reading
    official: Figures | None = None

    def check_shots(self, shots: int) -> None:
        if shots:
            raise UserError(f"task '{self.name}' is asked without examples, {shots} were asked for: give --shots 0")

    def has_images(self, number: int, shots: int) -> bool:
        return bool(self.questions[number].pictures)

    def episode(self, number: int, shots: int, seed: int) -> Episode:
        question = self.questions[number]
        return replace(self.episodes[number], query=put(question, [self._picture(p) for p in question.pictures]))

    def identity(self) -> str:
        asked = [[q.id, q.text, q.choices, q.instruction, [self._mark(p) for p in q.pictures]] for q in self.questions]
        return fingerprint([super().identity(), asked])

    def reading(self, output: str, number: int) -> str:
        return self.read(self.extract(output), self.questions[number])

    def figures(self, answers: Sequence[str], numbers: Sequence[int]) -> dict[str, float]:
        if self.official is None:
            return {}
        return self.official(answers, [self.questions[number] for number in numbers])

    def _mark(self, picture: tuple[str, ...] | Image) -> str:
        # A picture that was missing or broken and is not any more makes another question.
        return digest_of(picture) if isinstance(picture, Image) else f"{picture} {self.pictures.mark(picture)}"

    def _picture(self, picture: tuple[str, ...] | Image) -> Image:
        if isinstance(picture, Image):
            try:
                read_image(picture.data, size=1)
            except BadImage:
                raise Unaskable("unreadable image") from None
            return picture
        return self.pictures.read(Row(id="", picture=picture, answers=(), shown=""))


def key(question: Question) -> Episode:
    """The episode as far as answers are compared with it."""
    chance = question.chance or (1 / len(question.choices) if question.choices else 0.0)
    return Episode(id=question.id, query=(), references=question.references, kind=question.kind, chance=chance)


def put(question: Question, pictures: Sequence[Image]) -> tuple[Segment, ...]:
    """The prompt, up to where the answer begins.

    Raises:
        Unaskable: it names a picture that it does not have.
    """
    options = [f"{letter}. {text}" for letter, text in zip(LETTERS, question.choices, strict=False)]
    text = "\n".join(filter(None, [question.text, *options, question.instruction]))
    if not _PLACE.search(text):
        return templates.chat_turn((*pictures, Text(text)), None)
    parts: list[Segment] = []
    for index, part in enumerate(_PLACE.split(text)):
        if index % 2 == 0:
            parts.append(Text(part))
        elif not 1 <= int(part) <= len(pictures):
            raise Unaskable("a picture that is named is not there")
        else:
            parts.append(pictures[int(part) - 1])
    return templates.chat_turn(templates.merged(parts), None)
