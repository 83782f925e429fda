"""Pages: a header and items, each a prompt with its answer. One maker serves training and evaluation alike.

    page = binding(world, random.Random(0), "train", num_items=6)
    page.segments()                    # a training Document: header, then every prompt followed by its answer
    page.header, page.items[:-1], page.items[-1]      # shots and a query

Because both come from the same maker, evaluation asks in exactly the form that training showed, on scenes that
training never showed. Knows nothing of tokens, of models, or of how an answer is scored.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mm1.data import templates
from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.render import render
from mm1.data.synthetic.scenes import Scene, Split, Thing, World, sample_scene
from mm1.types import Image, Segment, Text


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt (pictures and text) and the answer that should follow it on the same line."""

    prompt: tuple[Segment, ...]
    answer: str
    kind: str
    question: str = ""
    """The bare question, for those who ask it in another form (chat)."""
    asked_in: Split | None = None
    """The split in whose chats the question may be asked; None where the picture or page before it decides."""
    chance: float = 0.0
    """How often the best guess is right that knows what is asked but sees nothing; 0 where that makes no sense."""
    content: str = ""
    """What the item is about, however it is drawn or put: items of equal content are near copies of each other."""
    attributes: tuple[tuple[tuple[str, str], ...], ...] = ()
    """For captions: for each thing in reading order, its (kind, word) pairs."""

    def segments(self) -> tuple[Segment, ...]:
        """The prompt with its answer, as a demonstration or a training text."""
        return templates.answered(self.prompt, self.answer)


@dataclass(frozen=True, slots=True)
class Page:
    """A header, then items that belong together."""

    header: tuple[Segment, ...]
    items: tuple[Item, ...]

    def segments(self) -> tuple[Segment, ...]:
        """The whole page as the segments of one training Document."""
        return templates.merged((*self.header, *(part for item in self.items for part in item.segments())))


PLAIN_SHARE = 0.5
"""Share of training pages on which pictures differ only in what the novel words name: there, like labels like, which
is learned first; the other half, and every test page, vary everything else too."""

Maker = Callable[[World, random.Random, Split, int], Page]


def captions(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Pictures, each followed by what is in it: one item is a caption pair, several are a gallery."""
    return Page((), tuple(_caption_item(sample_scene(world, rng, split), rng) for _ in range(num_items)))


def alt_texts(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Pictures with what web pages say of them: one thing of several, words left out, words that say nothing."""
    items = []
    for _ in range(num_items):
        scene = sample_scene(world, rng, split)
        items.append(Item(templates.caption_prompt(Image(render(scene, rng))), _alt_text(scene, rng), "alt"))
    return Page((), tuple(items))


def _alt_text(scene: Scene, rng: random.Random) -> str:
    kept = rng.sample(scene.things, rng.randint(1, len(scene.things)))
    phrases = [" ".join(word for word in thing.caption.split() if rng.random() < 0.8) for thing in kept]
    before = rng.choice(("", "", "photo of", "picture:", "image of", f"img {rng.randint(0, 9)}"))
    after = rng.choice(("", "", "for sale", "free download", "click here"))
    return " ".join(part for part in (before, " and ".join(phrases), after) if part) or "photo"


def contrasts(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Captioned variations of one scene that differ in one kind of attribute: hard negatives for contrastive training.

    Without them an image encoder tells pictures apart by colour and place alone and never learns shapes or digits
    (docs/log.md has the comparison).
    """
    base = sample_scene(world, rng, split, sign=rng.random() < 0.45)
    kinds = ("shape", "shape", "shape", "colour", "size", "all")
    vary = rng.choice(("digit", "digit", "digit", *kinds) if _sign(base) else kinds)
    scenes: dict[str, Scene] = {base.caption: base}
    for _ in range(200):
        if len(scenes) == num_items:
            break
        scene = Scene(tuple(_varied(thing, vary, rng) for thing in base.things), world)
        if scene.split == split:
            scenes[scene.caption] = scene
    return Page((), tuple(_caption_item(scene, rng) for scene in scenes.values()))


def _varied(thing: Thing, vary: str, rng: random.Random) -> Thing:
    def change(kind: str) -> bool:
        return vary in (kind, "all")

    return Thing(
        colour=rng.choice(tuple(words.COLOURS)) if change("colour") else thing.colour,
        shape=rng.choice(words.SHAPES) if change("shape") and not thing.digit else thing.shape,
        size=rng.choice(words.SIZES) if change("size") and not thing.digit else thing.size,
        row=thing.row,
        column=thing.column,
        digit=rng.choice(words.DIGITS) if change("digit") and thing.digit else thing.digit,
    )


def binding(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Two novel words name two colours or two shapes, on this page only; each picture is labelled with one of them.

    The header lists both words, so that without shots a guess is right half the time; with shots, the pictures tell
    which word means what. In the test split any even number of shots shows both words equally often.
    """
    return _bound(world, rng, split, num_items, lambda scene: (Image(render(scene, rng)),))


def told_binding(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """The same told in words instead of pictures: a description, then the novel word for what it describes."""
    return _bound(world, rng, split, num_items, lambda scene: (Text(scene.caption),))


def _bound(
    world: World, rng: random.Random, split: Split, num_items: int, show: Callable[[Scene], tuple[Segment, ...]]
) -> Page:
    attribute = rng.choice(("colour", "shape"))
    values = rng.sample(tuple(words.COLOURS) if attribute == "colour" else words.SHAPES, 2)
    names = rng.sample(words.NOVEL_WORDS, 2)
    listed = rng.sample(names, 2)
    order = [rng.randint(0, 1) for _ in range(num_items)]
    if split == "test":
        # Balanced in every even prefix, so that shots show both, but for the last item, which is the query. Not in
        # training: there the balance would give answers away.
        order = [which for _ in range(num_items // 2 + 1) for which in rng.sample((0, 1), 2)][:num_items]
        order[-1] = rng.randint(0, 1)
    if split == "train" and rng.random() < PLAIN_SHARE:
        pair = _plain_pair(world, rng, split, attribute, values)
        scenes = [pair[which] for which in order]
    else:
        scenes = [_single(world, rng, split, attribute, values[which]) for which in order]
    items = [
        Item(show(scene), names[which], attribute, chance=1 / 2, content=scene.caption)
        for scene, which in zip(scenes, order, strict=True)
    ]
    return Page((Text(f"words: {listed[0]} {listed[1]}\n"),), tuple(items))


def _plain_pair(
    world: World, rng: random.Random, split: Split, attribute: str, values: Sequence[str]
) -> tuple[Scene, Scene]:
    """Two scenes that differ in the bound attribute only."""
    while True:
        first = _single(world, rng, split, attribute, values[0])
        second = Scene((replace(first.things[0], **{attribute: values[1]}),), world)
        if second.split == split:
            return first, second


def _single(world: World, rng: random.Random, split: Split, attribute: str, value: str) -> Scene:
    """A scene of one thing with a given attribute."""
    return sample_scene(world, rng, split, 1, False, lambda scene: getattr(scene.things[0], attribute) == value)


_LISTED: dict[str, tuple[Callable[[Thing], str], int]] = {
    "colour": (lambda thing: thing.colour, len(words.COLOURS)),
    "shape": (lambda thing: thing.shape, len(words.SHAPES)),
    "size": (lambda thing: thing.size, len(words.SIZES)),
    "row": (lambda thing: thing.row, 2),
}


def listing(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Every picture is labelled with one attribute of its thing; which attribute, only the other items tell."""
    kind = rng.choice(tuple(_LISTED))
    value, choices = _LISTED[kind]
    items = []
    for _ in range(num_items):
        scene = sample_scene(world, rng, split, 1, False)
        picture = (Image(render(scene, rng)),)
        items.append(Item(picture, value(scene.things[0]), kind, chance=1 / choices, content=scene.caption))
    return Page((), tuple(items))


def questions(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Pictures with a question and a short answer: colour, shape, count, position or digits."""
    return Page((), tuple(question(world, rng, split) for _ in range(num_items)))


def question(world: World, rng: random.Random, split: Split, kind: str | None = None) -> Item:
    """One question about a new scene; `kind` is drawn when not given."""
    kind = kind or rng.choice(("colour", "shape", "count", "position", "digits"))
    scene = sample_scene(world, rng, split, sign=True if kind == "digits" else None, accept=ASKABLE[kind])
    text, answer, chance = ask(scene, kind, rng)
    prompt = templates.question_prompt(Image(render(scene, rng)), text)
    return Item(prompt, answer, kind, question=text, chance=chance, content=scene.caption)


ASKABLE: dict[str, Callable[[Scene], bool]] = {
    "colour": lambda scene: bool(scene.unique(lambda thing: thing.shape)),
    "shape": lambda scene: bool([thing for thing in scene.unique(lambda thing: thing.colour) if not thing.digit]),
    "count": lambda scene: True,
    "position": lambda scene: bool(scene.unique(lambda thing: thing.shape)),
    "digits": lambda scene: True,
}


COUNT_CHANCE = 4 / 9
"""Share of the commonest number of things, two, where there are up to three (scenes.py draws the number)."""


def ask(scene: Scene, kind: str, rng: random.Random) -> tuple[str, str, float]:
    """A question of `kind` about the scene: (question, answer, chance of the best guess)."""
    if kind == "colour":
        thing = rng.choice(scene.unique(lambda thing: thing.shape))
        return f"what colour is the {thing.shape}?", thing.colour, 1 / len(words.COLOURS)
    if kind == "shape":
        thing = rng.choice([thing for thing in scene.unique(lambda thing: thing.colour) if not thing.digit])
        return f"what shape is {thing.colour}?", thing.shape, 1 / len(words.SHAPES)
    if kind == "count":
        return "how many things are there?", words.COUNTS[len(scene.things) - 1], COUNT_CHANCE
    if kind == "position":
        thing = rng.choice(scene.unique(lambda thing: thing.shape))
        return f"where is the {thing.shape}?", thing.position, 1 / scene.world.grid**2
    sign = _sign(scene)
    assert sign is not None
    return "what number is on the sign?", sign.digit, 1 / len(words.DIGITS)


def stories(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Running text around pictures, as on a web page: each sentence tells of the picture before it."""
    items = []
    for _ in range(num_items):
        scene = sample_scene(world, rng, split)
        who, where = rng.choice(words.NAMES), rng.choice(words.CITIES)
        sentence = rng.choice((f"{who} sees {{}}.", f"here {who} found {{}}.", f"in {where} there is {{}}."))
        items.append(Item((Image(render(scene, rng)),), sentence.format(scene.caption), "story"))
    opening = f"{rng.choice(words.NAMES)} went to {rng.choice(words.CITIES)}.\n"
    return Page((Text(opening),), tuple(items))


def _caption_item(scene: Scene, rng: random.Random) -> Item:
    attributes = tuple(tuple(thing.attributes.items()) for thing in scene.things)
    prompt = templates.caption_prompt(Image(render(scene, rng)))
    question = templates.DESCRIBE
    return Item(prompt, scene.caption, "caption", question=question, content=scene.caption, attributes=attributes)


def _sign(scene: Scene) -> Thing | None:
    signs: Sequence[Thing] = [thing for thing in scene.things if thing.digit]
    return signs[0] if signs else None
