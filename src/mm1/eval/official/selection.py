"""Which examples precede a question: never the question itself, told by its id and by its picture.

    random    for each question others, drawn by the seed     same      one draw by the seed for all questions
    fixed     a list of ids, in its order                     nearest   RICES: the most similar pictures, nearest last

A picture is the question's own in any format and size (see data/perceptual.py). "same" and "fixed" give most questions
one common beginning, which the engine computes once. Rows whose picture is missing or broken are passed over, and no
file is shown twice. Knows nothing of prompts or of how features are made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float

from mm1.config import UserError
from mm1.data.perceptual import alike
from mm1.eval.episodes import Unaskable
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Row
from mm1.types import Image

Features: TypeAlias = Callable[[Sequence[Image]], Float[np.ndarray, "n D"]]
"""One vector a picture; similarity is their cosine."""

MAX_PASSED_OVER = 1000
"""Rows without a usable picture, one after another, before giving up: the folder is not the right one."""


class Selection(Protocol):
    """A way to choose examples."""

    seeds_matter: bool
    """Whether another seed gives other examples."""

    def draw(self, row: Row, shots: int, seed: int) -> list[Row]:
        """`shots` examples for the question `row`, in the order in which they stand before it.

        Raises:
            Unaskable: there are not so many, or its own picture can not be read.
        """
        ...


class Drawn:
    """By seed, for each question (`common=False`) or for all; more shots begin with what fewer would be."""

    seeds_matter = True

    def __init__(self, pool: Sequence[Row], pictures: Pictures, common: bool = False) -> None:
        self._pool = pool
        self._pictures = pictures
        self._common = common

    def draw(self, row: Row, shots: int, seed: int) -> list[Row]:
        rng = random.Random(f"{seed}" if self._common else f"{seed}/{row.id}")
        return take(shots, row, (self._pool[number] for number in _permutation(len(self._pool), rng)), self._pictures)


class Fixed:
    """A list of ids."""

    seeds_matter = False

    def __init__(self, ids: Sequence[str], pool: Sequence[Row], pictures: Pictures) -> None:
        """Raises UserError for an id that no row of the pool has."""
        by_id = {row.id: row for row in pool}
        if unknown := [id_ for id_ in ids if id_ not in by_id]:
            raise UserError(
                f"of {len(ids)} fixed examples {len(unknown)} are not among the {len(pool)} that may be, "
                f"'{unknown[0]}' the first: give ids of the training split"
            )
        self.ids = tuple(ids)
        self._rows = [by_id[id_] for id_ in ids]
        self._pictures = pictures

    def draw(self, row: Row, shots: int, seed: int) -> list[Row]:
        return take(shots, row, self._rows, self._pictures)

    @staticmethod
    def read(path: Path) -> list[str]:
        """Ids, one a line, each once."""
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        return list(dict.fromkeys(text for line in lines if (text := line.strip())))


class Nearest:
    """The pool's most similar pictures; equal ones in the pool's order."""

    seeds_matter = False

    def __init__(
        self, pool: Sequence[Row], pictures: Pictures, features: Features, pool_features: Float[np.ndarray, "n D"]
    ) -> None:
        """`pool_features` are those of the pool's pictures; rows of zeros for pictures that can not be read."""
        assert len(pool) == len(pool_features), f"{len(pool_features)} features for {len(pool)} rows"
        self._pool = pool
        self._pictures = pictures
        self._features = features
        self._pool_features = normalised(pool_features)

    def draw(self, row: Row, shots: int, seed: int) -> list[Row]:
        if shots == 0:
            return []
        (query,) = normalised(self._features([self._pictures.read(row)]))
        order = np.argsort(-(self._pool_features @ query), kind="stable")
        return take(shots, row, (self._pool[number] for number in order), self._pictures)[::-1]


def normalised(features: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    """Every row of length 1, or of zeros."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    result: np.ndarray = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    return result


PICTURES_ADVICE = "put the pictures of the training split into the benchmark's folder"


def take(shots: int, row: Row, candidates: Iterable[Row], pictures: Pictures) -> list[Row]:
    """The first `shots` candidates that are not `row`, can be read, show not its picture, and are not the same file.

    Raises:
        Unaskable: there are not so many.
        UserError: so many in a row can not be read that the folder must be the wrong one.
    """
    if shots == 0:
        return []
    chosen: list[Row] = []
    own = pictures.look(row)
    seen = {pictures.digest(row)}
    passed_over = 0
    for candidate in candidates:
        if candidate.id == row.id:
            continue
        try:
            digest = pictures.digest(candidate)
        except Unaskable:
            passed_over += 1
            if passed_over == MAX_PASSED_OVER:
                raise UserError(
                    f"{passed_over} rows that may be examples, one after another, have no picture that can be read "
                    f"({candidate.picture[0]} the last): {PICTURES_ADVICE}"
                ) from None
            continue
        passed_over = 0
        if digest not in seen and not alike(pictures.look(candidate), own):
            chosen.append(candidate)
            seen.add(digest)
        if len(chosen) == shots:
            return chosen
    raise Unaskable("too few examples")


def _permutation(size: int, rng: random.Random) -> Iterator[int]:
    """0 … size - 1 in random order, drawn one by one: a question needs a few of very many."""
    moved: dict[int, int] = {}
    for place in range(size):
        other = rng.randrange(place, size)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)
