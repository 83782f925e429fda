r"""An episode: one question, the worked examples (shots) that may precede it, and what counts as an answer.

    header        shots[0]                      shots[1]                      query
    "name it.\n"  ‹image› " it is a circle.\n"  ‹image› " it is a square.\n"  ‹image› " it is a"      → "triangle"

A prompt of k shots is the header, the first k shots and the query, joined without anything between them: every space
and line break stands in the segments. Knows nothing of models, metrics or tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from mm1.config import UserError
from mm1.types import Document, Image, Segment, Text


class Unaskable(Exception):
    """A question that can not be put to any model; `reason` is one of a few fixed phrases, fit for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Attribute:
    """A word or phrase that a free answer has to contain, and what it tells of: ("red", "colour")."""

    words: str
    kind: str
    chance: float = 0.0
    """How often a guesser who knows the format but sees nothing gets it right, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One question. Answers are compared stripped and lower-cased, so their case and outer spaces do not matter."""

    id: str
    query: tuple[Segment, ...]
    references: tuple[str, ...]
    """Right answers, or the human captions, or (for VQA accuracy) the ten given answers."""
    kind: str
    """What sort of question it is; scores are also reported by kind."""
    header: tuple[Segment, ...] = ()
    shots: tuple[tuple[Segment, ...], ...] = ()
    shot_ids: tuple[str, ...] = ()
    """What each shot is in its file; empty for shots that are in none."""
    candidates: tuple[str, ...] = ()
    """For multiple choice: the continuations to choose from, to the letter as they would follow the query (" red")."""
    required: tuple[Attribute, ...] = ()
    """For attribute accuracy: what the answer has to contain; a word listed twice has to occur twice."""
    chance: float = 0.0
    """Expected score of a guesser who knows the format but sees nothing, in [0, 1]."""


def prompt(episode: Episode, num_shots: int) -> Document:
    """The header, the first `num_shots` shots and the query as one Document.

    Raises:
        UserError: the episode has fewer shots.
    """
    if not 0 <= num_shots <= len(episode.shots):
        raise UserError(
            f"episode '{episode.id}' has {len(episode.shots)} shots, {num_shots} were asked for: ask for 0 to "
            f"{len(episode.shots)}, or make episodes with more"
        )
    segments = (*episode.header, *chain.from_iterable(episode.shots[:num_shots]), *episode.query)
    return Document(id=episode.id, segments=segments)


def exchange(sees: Sequence[bool], seed: int) -> dict[int, int]:
    """For a blind run: whose images each episode that has any (`sees`) is shown, by their numbers.

    One seeded cycle, so nobody keeps their own and everybody gives theirs once.

    Raises:
        UserError: fewer than two episodes have images.
    """
    seeing = [number for number, has_images in enumerate(sees) if has_images]
    if len(seeing) < 2:
        raise UserError(
            f"a blind run exchanges images between episodes, but {len(seeing)} of {len(sees)} have any: it needs 2"
        )
    cycle = [seeing[index] for index in np.random.default_rng(seed).permutation(len(seeing))]
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def with_images(document: Document, images: Sequence[Image]) -> Document:
    """`document` with `images` in the places of its own, repeated or cut to fit; wording and order stay."""
    segments: list[Segment] = []
    taken = 0
    for segment in document.segments:
        if isinstance(segment, Image):
            segment = images[taken % len(images)]
            taken += 1
        segments.append(segment)
    return replace(document, segments=tuple(segments))


def assert_no_leak(episode: Episode) -> None:
    """Refuses an episode whose query is answered by one of its own shots.

    A query with images leaks if one of its images, byte for byte, is in a shot (its wording is usually that of every
    shot). A query of text alone leaks if a shot begins with it, that is, asks the same and goes on with the answer.

    Raises:
        UserError: naming the episode, the shot, and what they share.
    """
    images = {digest_of(segment) for segment in episode.query if isinstance(segment, Image)}
    text = _text(episode.query)
    for number, shot in enumerate(episode.shots):
        shared = images & {digest_of(segment) for segment in shot if isinstance(segment, Image)}
        if shared:
            what = f"the query's image {min(shared)[:12]}"
        elif not images and _text(shot).startswith(text):
            what = f"the query's text {text[:60]!r}"
        else:
            continue
        raise UserError(f"episode '{episode.id}': {what} is also in its shot {number}: draw the shots from other rows")


def digest_of(image: Image) -> str:
    """SHA-256 of the image's bytes: equal images have equal names."""
    return hashlib.sha256(image.data).hexdigest()


def _text(segments: tuple[Segment, ...]) -> str:
    return "".join(segment.text for segment in segments if isinstance(segment, Text)).strip().lower()
