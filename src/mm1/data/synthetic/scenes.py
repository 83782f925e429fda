"""Scenes: a few things and signs on a grid, sampled by split, described in words.

    scene = sample_scene(World(), random.Random(0), "train")
    scene.caption      # "a large red circle top left, a blue sign 7 bottom right"

A scene belongs to `test` when the hash of its description says so (one in ten), whoever makes it and for whatever
page; `train` scenes are drawn until they do not. Knows nothing of pixels (render.py) or of pages (pages.py).
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mm1.config import Config
from mm1.data.synthetic import vocabulary as words

Split = Literal["train", "test"]

TEST_SHARE = 10
"""One in this many scenes is kept for the test split."""


class World(Config):
    """The size of the world."""

    image_size: int = 48
    """Pixels a side at which scenes are drawn."""
    grid: Literal[1, 2, 3] = 2
    """Cells a side; a thing stands in each at most."""
    max_things: int = 3
    sign_share: float = 0.4
    """Share of scenes in which one of the things is a sign with a digit."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape, or a sign when `digit` is given (signs have no size to speak of)."""

    colour: str
    shape: str
    size: str
    row: str
    column: str
    digit: str = ""

    @property
    def position(self) -> str:
        return f"{self.row} {self.column}"

    @property
    def caption(self) -> str:
        if self.digit:
            return f"{words.with_article(self.colour)} sign {self.digit} {self.position}"
        return f"a {self.size} {self.colour} {self.shape} {self.position}"

    @property
    def attributes(self) -> dict[str, str]:
        """What a caption must get right, by kind."""
        if self.digit:
            return {"colour": self.colour, "digits": self.digit, "position": self.position}
        return {"size": self.size, "colour": self.colour, "shape": self.shape, "position": self.position}


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in reading order."""

    things: tuple[Thing, ...]
    world: World

    @property
    def caption(self) -> str:
        return ", ".join(thing.caption for thing in self.things)

    @property
    def split(self) -> Split:
        return split_of(self.caption)

    def unique(self, attribute: Callable[[Thing], str]) -> list[Thing]:
        """The things that alone in the scene have their value of `attribute`."""
        counts = Counter(attribute(thing) for thing in self.things)
        return [thing for thing in self.things if counts[attribute(thing)] == 1]


def split_of(content: str) -> Split:
    """The split to which a description belongs, whoever asks and whenever."""
    return "test" if zlib.crc32(content.encode()) % TEST_SHARE == 0 else "train"


def sample_scene(
    world: World,
    rng: random.Random,
    split: Split,
    num_things: int | None = None,
    sign: bool | None = None,
    accept: Callable[[Scene], bool] = lambda scene: True,
) -> Scene:
    """Draws scenes until one belongs to `split` and is accepted.

    Args:
        world: the size of the world.
        rng: all randomness comes from here.
        split: the scene's split.
        num_things: how many; drawn (fewer more often) when not given.
        sign: whether one of them is a sign; by the world's share when not given.
        accept: a further condition, which must not be rarer than about one in a thousand.
    """
    for _ in range(100_000):
        scene = _draw(world, rng, num_things, sign)
        if scene.split == split and accept(scene):
            return scene
    raise AssertionError(f"no {split} scene with {num_things} things was accepted")


def _draw(world: World, rng: random.Random, num_things: int | None, sign: bool | None) -> Scene:
    cells = [(row, column) for row in words.ROWS[world.grid] for column in words.COLUMNS[world.grid]]
    most = min(world.max_things, len(cells))
    count = num_things or min(rng.randint(1, most), rng.randint(1, most) + 1)
    chosen = sorted(rng.sample(range(len(cells)), count))
    has_sign = rng.random() < world.sign_share if sign is None else sign
    sign_at = rng.choice(chosen) if has_sign else -1
    things = [
        Thing(
            colour=rng.choice(tuple(words.COLOURS)),
            shape="sign" if cell == sign_at else rng.choice(words.SHAPES),
            size="large" if cell == sign_at else rng.choice(words.SIZES),
            row=cells[cell][0],
            column=cells[cell][1],
            digit=rng.choice(words.DIGITS) if cell == sign_at else "",
        )
        for cell in chosen
    ]
    return Scene(things=tuple(things), world=world)
