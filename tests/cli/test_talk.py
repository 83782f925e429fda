"""A conversation over a pipe: lines in, answers out, whatever the lines are."""

import io
import sys
from collections.abc import Sequence

import pytest
from rich.console import Console

from mm1.cli.talk import talk
from mm1.types import Document, Text


class Echo:
    """Says what it was asked last."""

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        said = "".join(part.text for part in documents[0].segments if isinstance(part, Text))
        said.encode()  # as a tokenizer must
        return [said.rpartition("user: ")[2].removesuffix("\nassistant:")]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        (b"hello\n\nyou", ["hello", "you"]),
        (b"caf\xe9 \xff\n/new\nnext\n", ["caf\ufffd \ufffd", "(a new conversation)", "next"]),
        (b"/image\nyou", ["mm1: /image has no path after it", "you"]),
        (b"/image /nowhere.png\nwhat?\n/quit\nnever asked\n", ["mm1: /nowhere.png can not be read", "what?"]),
    ],
)
def test_every_line_is_answered(lines: bytes, answers: list[str], errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8", errors=errors))
    shown = io.StringIO()
    talk(Echo(), None, Console(file=shown, width=1000, highlight=False, markup=False))
    said = shown.getvalue().splitlines()
    assert len(said) == len(answers)
    assert all(line.startswith(answer) for line, answer in zip(said, answers, strict=True))
