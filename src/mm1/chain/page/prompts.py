r"""A sample's prompt, as the evaluation keeps it for eyes, back into header, shots and query with their pictures.

    "name it.\n‹image 0› red\n‹image 1›", 1 shot    # header "name it.", shots [[img, "red"]], query [img]

A demonstration ends with a line break (data/templates.py), so the last line is the query, the lines before it are the
shots, and what is left is the header. Where a page breaks that rule the pieces still stand in their order, only their
setting is off. Knows nothing of HTML or image files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the prompt: its file, relative to the evaluation folder."""

    file: str


Piece: TypeAlias = str | Picture


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model read, in order."""

    header: tuple[Piece, ...]
    shots: tuple[tuple[Piece, ...], ...]
    query: tuple[Piece, ...]


def read_prompt(sample: Mapping[str, Any]) -> Prompt:
    """The prompt of one line of a samples file."""
    pieces = _pieces(sample["prompt"], sample.get("images") or ())
    lines = _lines(pieces)
    shots = min(int(sample.get("examples", sample["shots"])), len(lines) - 1)
    if shots == 0:
        return Prompt(header=(), shots=(), query=tuple(piece for piece in pieces if piece))
    first = len(lines) - 1 - shots
    header = tuple(piece for line in lines[:first] for piece in line)
    return Prompt(header=header, shots=tuple(lines[first:-1]), query=lines[-1])


def _pieces(prompt: str, images: Sequence[str]) -> list[Piece]:
    """Text and pictures in order: the placeholders are numbered, so each is looked for after the one before it."""
    pieces: list[Piece] = []
    for number, file in enumerate(images):
        text, found, prompt = prompt.partition(f"‹image {number}›")
        pieces += [text, Picture(file)] if found else [text]
    return [*pieces, prompt]


def _lines(pieces: Sequence[Piece]) -> list[tuple[Piece, ...]]:
    """The pieces by line; empty lines are left out, at least one line comes back."""
    lines: list[list[Piece]] = [[]]
    for piece in pieces:
        first, *others = [piece] if isinstance(piece, Picture) else piece.split("\n")
        lines[-1].append(first)
        lines += [[other] for other in others]
    kept = [tuple(piece for piece in line if isinstance(piece, Picture) or piece.strip()) for line in lines]
    return [line for line in kept if line] or [()]
