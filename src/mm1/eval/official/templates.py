r"""Prompts as they are read, one line an example: the picture, then `prompt`, then `answer`.

    ‹image› A photo of a cake on a table.\n‹image› A photo of
    ‹image› Question: What is it? Short answer: cake\n‹image› Question: Is it big? Short answer:

The paper's wording is known from recollection only, its white space not at all: the spaces and line breaks here are a
choice. Knows nothing of tokens or files.
"""

from __future__ import annotations

from dataclasses import dataclass

from mm1.eval.official.rows import Row
from mm1.types import Image, Segment, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How a question is put, and how an example goes on with its answer."""

    prompt: str
    """With {question}."""
    answer: str
    """With {answer} and, for reasoning, {rationale}; it begins with the space after the prompt."""
    stop: tuple[str, ...]
    """What ends a generated answer."""
    max_new_tokens: int

    def query(self, row: Row, picture: Image) -> tuple[Segment, ...]:
        """The question, up to where the answer begins."""
        return (picture, Text(self.prompt.format(question=row.question)))

    def shot(self, row: Row, picture: Image | None) -> tuple[Segment, ...]:
        """An example: the question with its answer; without a picture, the Flamingo-style one of text alone."""
        text = self.prompt.format(question=row.question) + self.continuation(row)
        return (Text(text),) if picture is None else (picture, Text(text))

    def continuation(self, row: Row) -> str:
        """What follows the prompt in an example."""
        # A row without a rationale shows the answer alone.
        return self.answer.format(answer=row.shown, rationale=row.rationale).replace("  ", " ")


CAPTION = Template(prompt="A photo of", answer=" {answer}\n", stop=("\n",), max_new_tokens=40)
SHORT_ANSWER = Template(
    prompt="Question: {question} Short answer:",
    answer=" {answer}\n",
    stop=("\n", ".", ",", "Question"),
    max_new_tokens=16,
)
"""Stops and wording of the paper, from recollection."""
CHOICE = Template(prompt="Question: {question} Answer:", answer=" {answer}\n", stop=("\n",), max_new_tokens=16)
LABEL = Template(prompt="This is", answer=" {answer}\n", stop=("\n",), max_new_tokens=16)
REASONED = Template(
    prompt="Question: {question} Let's think step by step.",
    answer=" {rationale} The answer is {answer}.\n",
    stop=("\n", "Question:"),
    max_new_tokens=256,
)
"""Chain of thought: examples show their rationale; the answer is taken from the last "the answer is"."""
