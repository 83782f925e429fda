"""Text that only text can teach: sums and facts behind several openings, copying within a page, reading a description.

Held out from training: some openings of each sum and fact (others are trained behind them), some sums from all chats,
and the random content of copying and reading pages. Knows nothing of pictures.
"""

from __future__ import annotations

import random
from dataclasses import replace

from mm1.data import templates
from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.pages import ASKABLE, Item, Page, ask
from mm1.data.synthetic.scenes import Split, World, sample_scene, split_of
from mm1.types import Text

LARGEST_ADDEND = 9

_FACTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{who} likes", words.LIKES),
    ("{who} lives in", words.CITIES),
    ("{who} has a", words.PETS),
)
"""What is said of a person, and its values, one a name, fixed for ever."""

_OPENINGS = ("", "yes, ", "we know that ", "they say that ", "it is true that ", "remember: ")


def sums(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Additions, each behind several openings. Each sum's openings are divided; so are the sums asked for in chats."""
    items: list[Item] = []
    while len(items) < num_items:
        a, b = rng.randint(0, LARGEST_ADDEND), rng.randint(0, LARGEST_ADDEND)
        stem, question = f"{rng.choice(_OPENINGS)}{a} plus {b} is", f"what is {a} plus {b}?"
        if split_of(stem) == split:
            item = Item((Text(stem),), str(a + b), "sums", chance=1 / (LARGEST_ADDEND + 1), content=question)
            items.append(replace(item, question=question, asked_in=split_of(question)))
    return Page((), tuple(items))


def facts(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Thirty-six facts about twelve people, each behind several openings. Each fact's openings are divided."""
    items: list[Item] = []
    while len(items) < num_items:
        relation, values = rng.choice(_FACTS)
        index = rng.randrange(len(words.NAMES))
        stem = rng.choice(_OPENINGS) + relation.format(who=words.NAMES[index])
        if split_of(stem) == split:
            items.append(
                Item(
                    (Text(stem),),
                    values[index],
                    "facts",
                    chance=1 / len(values),
                    content=relation.format(who=words.NAMES[index]),
                )
            )
    return Page((), tuple(items))


def copying(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """A list of novel words with values, then some of them again: recall within the page, random on every page."""
    keys = rng.sample(words.NOVEL_WORDS, rng.randint(2, 5))
    values = [rng.choice((*words.COLOURS, *words.SHAPES, *words.DIGITS)) for _ in keys]
    header = "".join(f"{key} {value}{templates.STOP}" for key, value in zip(keys, values, strict=True))
    items = []
    for _ in range(num_items):
        which = rng.randrange(len(keys))
        items.append(Item((Text(keys[which]),), values[which], "copying", chance=1 / len(set(values))))
    return Page((Text(header),), tuple(items))


def reading(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """A scene told in words, then questions about it: what questions mean can be learned without a picture."""
    scene = sample_scene(world, rng, split)
    kinds = [kind for kind, possible in ASKABLE.items() if kind != "digits" and possible(scene)]
    kinds += ["digits"] if any(thing.digit for thing in scene.things) else []
    items = []
    for _ in range(num_items):
        kind = rng.choice(kinds)
        text, answer, chance = ask(scene, kind, rng)
        items.append(Item(templates.question_prompt(None, text), answer, "reading", question=text, chance=chance))
    return Page((Text(scene.caption + templates.STOP),), tuple(items))
