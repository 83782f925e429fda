"""Work for tests of the engine, where its processes can import it."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm1.config import UserError
from mm1.curation.memory import held


@dataclass(frozen=True)
class Piece:
    """A part: a name, a number, and how often its work may begin before it goes well."""

    name: str
    number: int


def square(piece: Piece, folder: Path) -> dict[str, Any]:
    """Writes the square of the number."""
    (folder / "square").write_text(str(piece.number**2))
    return {"in": 1, "square": piece.number**2}


def record(piece: Piece, folder: Path, journal: Path) -> dict[str, Any]:
    """As `square`, and tells that it was called."""
    with (journal / piece.name).open("a") as file:
        file.write("called\n")
    return square(piece, folder)


def fill(piece: Piece, folder: Path, number: int) -> dict[str, Any]:
    """As `square`, but for one number, at which there is no room; as libraries tell it, without a path."""
    if piece.number == number:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return square(piece, folder)


def refuse(piece: Piece, folder: Path, number: int) -> dict[str, Any]:
    """As `square`, but for one number."""
    if piece.number == number:
        raise UserError(f"part {number} is not to be had: give another")
    return square(piece, folder)


def stumble(piece: Piece, folder: Path, number: int) -> dict[str, Any]:
    """As `square`, with a mistake in the program for one number."""
    return square(piece, folder) if piece.number != number else {"in": 1 // 0}


def die(piece: Piece, folder: Path, number: int) -> dict[str, Any]:
    """As `square`, but one number ends its process as the kernel does where memory is short."""
    (folder / "half").write_text("written before")
    if piece.number == number:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return square(piece, folder)


def scatter(piece: Piece, folder: Path) -> dict[str, Any]:
    """Takes 80 MB in pieces and frees all but every hundredth; tells what was held before and at the most."""
    before = held().anonymous
    pieces = [np.ones(1000) for _ in range(10_000)]
    most = held().anonymous
    _KEPT.extend(pieces[::100])
    return {"before": before, "taken": most - before}


_KEPT: list[np.ndarray] = []


def wait(piece: Piece, folder: Path, number: int) -> dict[str, Any]:
    """As `square`, but one number takes as long as it is let."""
    if piece.number == number:
        time.sleep(60)
    return square(piece, folder)
