"""Pages about printed matter: charts to describe and to ask about, pages of text to transcribe.

    charts(World(image_size=224), random.Random(0), "train", 1)         one item: a caption pair; several: a gallery

Every maker's items have a question too, so that each can be read as captions, as an interleaved page, as questions and
answers, or as a chat. Knows nothing of tokens, of models, or of how an answer is scored.
"""

from __future__ import annotations

import random

from mm1.data import templates
from mm1.data.synthetic.chart import QUESTIONS, Chart, ask, askable, sample_chart
from mm1.data.synthetic.draw_chart import draw
from mm1.data.synthetic.pages import Item, Page
from mm1.data.synthetic.scenes import Split, World
from mm1.data.synthetic.written import draw_writing, sample_writing
from mm1.types import Image


def charts(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Charts, each followed by what it shows."""
    items = []
    for _ in range(num_items):
        chart = sample_chart(rng, split)
        prompt = templates.caption_prompt(Image(draw(chart, world.image_size, rng)))
        items.append(Item(prompt, chart.caption, "chart", question=templates.DESCRIBE, content=chart.content))
    return Page((), tuple(items))


def chart_questions(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Charts, each with a question and a short answer: its kind, a count, a value, a comparison."""
    return Page((), tuple(_chart_question(world, rng, split) for _ in range(num_items)))


def _chart_question(world: World, rng: random.Random, split: Split) -> Item:
    kind = rng.choice(tuple(QUESTIONS))

    def accept(chart: Chart) -> bool:
        return askable(chart, kind)

    chart = sample_chart(rng, split, accept)
    text, answer, chance = ask(chart, kind, rng)
    prompt = templates.question_prompt(Image(draw(chart, world.image_size, rng)), text)
    return Item(prompt, answer, f"chart_{kind}", question=text, chance=chance, content=chart.content)


def writings(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """Pictures of text, each followed by what is written, its lines joined by spaces."""
    items = []
    for _ in range(num_items):
        writing = sample_writing(rng, split, world.image_size)
        prompt = templates.caption_prompt(Image(draw_writing(writing, rng)))
        items.append(Item(prompt, writing.text, "writing", question=templates.READ, content=writing.text))
    return Page((), tuple(items))


def writing_questions(world: World, rng: random.Random, split: Split, num_items: int) -> Page:
    """The same, asked for as a question."""
    items = []
    for _ in range(num_items):
        writing = sample_writing(rng, split, world.image_size)
        prompt = templates.question_prompt(Image(draw_writing(writing, rng)), templates.READ)
        items.append(Item(prompt, writing.text, "writing", question=templates.READ, content=writing.text))
    return Page((), tuple(items))
