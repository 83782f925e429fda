"""Synthetic sources: document number i is made from (seed, name, i) when it is asked for.

    source = SyntheticSource(SyntheticConfig(name="bindings", page="binding", num_documents=5000, num_items=(4, 11)))
    source.document(17)        # always the same Document

Knows nothing of shards, tokens or mixtures.
"""

from __future__ import annotations

import random
from typing import Literal

from pydantic import PositiveInt, model_validator

from mm1.config import Config, Seed
from mm1.data import templates
from mm1.data.synthetic import pages, printed, text
from mm1.data.synthetic.pages import Maker, Page
from mm1.data.synthetic.scenes import Split, World
from mm1.types import Document, Image, Segment, Text

PageKind = Literal[
    "captions", "alt_texts", "contrasts", "binding", "listing", "questions", "stories", "sums", "facts", "copying",
    "reading", "told_binding", "charts", "chart_questions", "writings", "writing_questions",
]  # fmt: skip

MAKERS: dict[PageKind, Maker] = {
    "captions": pages.captions,
    "alt_texts": pages.alt_texts,
    "contrasts": pages.contrasts,
    "binding": pages.binding,
    "listing": pages.listing,
    "questions": pages.questions,
    "stories": pages.stories,
    "sums": text.sums,
    "facts": text.facts,
    "copying": text.copying,
    "reading": text.reading,
    "told_binding": pages.told_binding,
    "charts": printed.charts,
    "chart_questions": printed.chart_questions,
    "writings": printed.writings,
    "writing_questions": printed.writing_questions,
}


class SyntheticConfig(Config):
    """An endless source, cut to `num_documents`."""

    kind: Literal["synthetic"] = "synthetic"
    name: str
    page: PageKind
    num_documents: PositiveInt
    num_items: tuple[int, int] = (1, 1)
    """The least and the most items of a page; drawn evenly."""
    num_pages: tuple[int, int] = (1, 1)
    """The least and the most pages of a document, so that documents are as long as prompts with shots will be."""
    chat: bool = False
    """As a chat in which only the answers are targets, instead of a page."""
    world: World = World()
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> SyntheticConfig:
        for name in ("num_items", "num_pages"):
            least, most = getattr(self, name)
            if not 1 <= least <= most:
                raise ValueError(f"{name} is {least} to {most}: give the least first, and at least 1")
        return self

    def rng(self, split: Split, index: int) -> random.Random:
        """All randomness of document or page number `index` of a split."""
        return random.Random(f"{self.seed}/{self.name}/{split}/{index}")


class SyntheticSource:
    """Documents made on demand; O(1) in the document number."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.name = config.name

    def __len__(self) -> int:
        return self.config.num_documents

    def document(self, index: int) -> Document:
        """Document number `index` of the training split."""
        rng = self.config.rng("train", index)
        segments: list[Segment] = []
        for _ in range(rng.randint(*self.config.num_pages)):
            page = _draw_page(self.config, rng, "train", None)
            segments += as_chat(page) if self.config.chat else page.segments()
        return Document(id=f"{self.name}/{index}", segments=templates.merged(segments), source=self.name)


def make_page(config: SyntheticConfig, index: int, split: Split, num_items: int | None = None) -> Page:
    """Page number `index` of a split; evaluation asks for `test` pages with a fixed number of items."""
    return _draw_page(config, config.rng(split, index), split, num_items)


def _draw_page(config: SyntheticConfig, rng: random.Random, split: Split, num_items: int | None) -> Page:
    return MAKERS[config.page](config.world, rng, split, num_items or rng.randint(*config.num_items))


def as_chat(page: Page) -> tuple[Segment, ...]:
    """The page's items as exchanges of a chat; items without a question, or kept for testing, have no place in one."""
    turns: list[Segment] = []
    for item in page.items:
        if item.question and item.asked_in != "test":
            turns += templates.chat_turn(chat_question(item), item.answer)
    return templates.merged((*(Text(part.text, False) for part in page.header if isinstance(part, Text)), *turns))


def chat_question(item: pages.Item) -> tuple[Segment, ...]:
    """What a user would send: the item's pictures, then its bare question."""
    return (*(part for part in item.prompt if isinstance(part, Image)), Text(item.question))
