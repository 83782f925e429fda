"""Text that only text can teach: sums, facts in several phrasings, copying within a page, reading a description.

Held out from training: a sum's order (the other order is trained), for each fact the asking phrase (other facts are
asked in it), and the random content of copying and reading pages. Knows nothing of pictures.
"""

from __future__ import annotations

import random

from mm1.data import templates
from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.pages import ASKABLE, Item, Page, ask
from mm1.data.synthetic.scenes import Split, World, sample_scene, split_of
from mm1.types import Text

LARGEST_ADDEND = 12

_FACTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    ("likes", words.LIKES, ("{who} likes {what}.", "{what} is what {who} likes."), ("what does {who} like?",)),
    ("lives", words.CITIES, ("{who} lives in {what}.", "{what} is home to {who}."), ("where does {who} live?",)),
    ("pet", words.PETS, ("{who} has a {what}.", "a {what} belongs to {who}."), ("what pet has {who}?",)),
)
"""For each relation: its values (one a name, fixed for ever), statements, and questions."""


def sums(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Additions. A held-out sum was trained in the other order only."""
    items: list[Item] = []
    while len(items) < num_items:
        a, b = rng.randint(0, LARGEST_ADDEND), rng.randint(0, LARGEST_ADDEND)
        if _sum_split(a, b) == split:
            prompt, asked = (Text(f"{a} plus {b} is"),), f"what is {a} plus {b}?"
            items.append(Item(prompt, str(a + b), "sums", question=asked, choices=2 * LARGEST_ADDEND + 1))
    return Page((), tuple(items))


def _sum_split(a: int, b: int) -> Split:
    """About one unordered pair in five has its larger-first order held out."""
    held_out = a > b and "test" in (split_of(f"sum {a} {b}"), split_of(f"addition {a} {b}"))
    return "test" if held_out else "train"


def facts(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Statements and questions about twelve people. The test split asks what training only stated."""
    items: list[Item] = []
    while len(items) < num_items:
        relation, values, statements, asked = rng.choice(_FACTS)
        index = rng.randrange(len(words.NAMES))
        who, what = words.NAMES[index], values[index]
        ask = split == "test" or rng.random() < 0.5
        if ask:
            if _asked_split(relation, who) == split:
                question = rng.choice(asked).format(who=who)
                prompt = templates.question_prompt(None, question)
                items.append(Item(prompt, what, "facts", question=question, choices=len(values)))
        else:
            statement = rng.choice(statements).format(who=who, what=what)
            items.append(Item((Text(statement.rpartition(" ")[0]),), statement.rpartition(" ")[2], "statement"))
    return Page((), tuple(items))


def _asked_split(relation: str, who: str) -> Split:
    """A third of the facts is never asked for in training."""
    return "test" if (words.NAMES.index(who) + len(relation)) % 3 == 0 else "train"


def copying(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """A list of novel words with values, then questions for some of them: recall within the page."""
    keys = rng.sample(words.NOVEL_WORDS, rng.randint(2, 6))
    values = [rng.choice((*words.COLOURS, *words.SHAPES, *words.DIGITS)) for _ in keys]
    header = "".join(f"{key} is {value}. " for key, value in zip(keys, values, strict=True))
    items = []
    for _ in range(num_items):
        which = rng.randrange(len(keys))
        prompt = templates.question_prompt(None, f"what is {keys[which]}?")
        items.append(Item(prompt, values[which], "copying", choices=len(set(values))))
    return Page((Text(header.rstrip() + templates.STOP),), tuple(items))


def reading(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """A scene told in words, then questions about it: what questions mean can be learned without a picture."""
    scene = sample_scene(world, rng, split)
    kinds = [kind for kind, possible in ASKABLE.items() if kind != "digits" and possible(scene)]
    kinds += ["digits"] if any(thing.digit for thing in scene.things) else []
    items = []
    for _ in range(num_items):
        kind = rng.choice(kinds)
        text, answer, choices = ask(scene, kind, rng)
        items.append(Item(templates.question_prompt(None, text), answer, "reading", choices=choices))
    return Page((Text(scene.caption + templates.STOP),), tuple(items))
