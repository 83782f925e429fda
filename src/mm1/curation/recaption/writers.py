"""Who is asked: one interface for a model behind an address and for one from a folder.

    writer.write({"5f0c…": Question("Describe …", picture=b"…")}, heard)      # heard("5f0c…", Answer(…)) as they come

Knows nothing of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from mm1.eval.chat_api import Answer, NoAnswer

Said: TypeAlias = Answer | NoAnswer
Heard: TypeAlias = Callable[[str, Said], None]
"""Given the key of a question and what came of it; may be called from any thread. What it raises ends the asking."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is put to a model."""

    text: str
    picture: bytes | None = None
    """Encoded, as it came."""


class Writer(Protocol):
    """A model that writes."""

    @property
    def name(self) -> str:
        """What stands in every row: which model it is."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its answers depend on besides the question, as plain JSON values."""
        ...

    def write(self, questions: Mapping[str, Question], heard: Heard) -> None:
        """Asks all questions, and calls `heard` once for each as soon as its answer is there."""
        ...
