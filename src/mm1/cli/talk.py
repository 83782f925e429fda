"""`mm1 chat`: a conversation on the terminal, or over a pipe, one line a question."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from mm1.config import UserError
from mm1.data import templates
from mm1.eval.model import EvalModel
from mm1.serve.chat import ChatSession

_HELP = "Type a question. /image PATH shows a picture, /new begins again, /quit leaves."


def talk(model: EvalModel, image: Path | None, console: Console) -> None:
    """Reads questions from standard input until it ends; `image` goes with the first."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a pipe may carry anything, and no tokenizer takes what is no text
    session = ChatSession(model, templates.chat_turn)
    interactive = sys.stdin.isatty()
    if interactive:
        console.print(_HELP)
    if image is not None:
        session.show(image)
    while (line := _read(interactive)) is not None:
        try:
            answer = _respond(session, line.strip())
        except UserError as error:
            answer = f"mm1: {error}"
        if answer == "":
            return
        if answer is not None:
            console.print(answer)


def _read(interactive: bool) -> str | None:
    if interactive:
        try:
            return input("> ")
        except (EOFError, KeyboardInterrupt):
            return None
    return sys.stdin.readline() or None


def _respond(session: ChatSession, line: str) -> str | None:
    """What to print: an answer, nothing, or "" to leave."""
    command, _, rest = line.partition(" ")
    if command == "/quit":
        return ""
    if command == "/new":
        session.clear()
        return "(a new conversation)"
    if command == "/image":
        if not rest:
            raise UserError("/image has no path after it: give the path of a picture")
        session.show(Path(rest))
        return f"(the next question is about {rest})"
    return session.ask(line) or "(no words)" if line else None
