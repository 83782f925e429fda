"""The embedded real sample as sources: captions, galleries of captions, pages, text, and chats about pictures.

    source = EmbeddedSource(EmbeddedConfig(name="pictures", part="captions"))

Only the training split of the sample; the held-out pictures are the naming tasks' (eval/naming.py). Knows nothing of
shards, tokens or mixtures; embedded.py reads the sample's files.
"""

from __future__ import annotations

import random
from functools import cached_property
from typing import Literal

from pydantic import PositiveInt, model_validator

from mm1.config import Config, Seed
from mm1.data import templates
from mm1.data.embedded import CaptionRecord, caption_records, pages, texts
from mm1.types import Document, Image, Segment, Text


class EmbeddedConfig(Config):
    """One way of reading the embedded sample."""

    kind: Literal["embedded"] = "embedded"
    name: str
    part: Literal["captions", "galleries", "pages", "text", "chat"]
    num_documents: PositiveInt | None = None
    """All there are, or for galleries and chats as many as are wanted."""
    num_items: tuple[int, int] = (1, 1)
    """The least and the most pictures of a gallery or exchanges of a chat; drawn evenly."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> EmbeddedConfig:
        least, most = self.num_items
        if not 1 <= least <= most:
            raise ValueError(f"num_items is {least} to {most}: give the least first, and at least 1")
        return self


class EmbeddedSource:
    """Documents of the sample by number."""

    def __init__(self, config: EmbeddedConfig) -> None:
        self.config = config
        self.name = config.name

    def __len__(self) -> int:
        if self.config.part in ("galleries", "chat"):
            return self.config.num_documents or len(self._records)
        there = len(self._records) if self.config.part == "captions" else len(self._whole)
        return min(there, self.config.num_documents or there)

    def document(self, index: int) -> Document:
        """Document number `index`; a gallery's pictures are drawn from (seed, name, index)."""
        part = self.config.part
        if part == "captions":
            segments = captioned(self._records[index])
        elif part in ("galleries", "chat"):
            segments = self._several(index)
        else:
            segments = self._whole[index].segments
        return Document(id=f"{self.name}/{index}", segments=segments, source=self.name)

    def _several(self, index: int) -> tuple[Segment, ...]:
        rng = random.Random(f"{self.config.seed}/{self.name}/{index}")
        records = rng.sample(self._records, rng.randint(*self.config.num_items))
        make = captioned if self.config.part == "galleries" else named_in_chat
        return templates.merged(part for record in records for part in make(record))

    @cached_property
    def _records(self) -> list[CaptionRecord]:
        return caption_records("train")

    @cached_property
    def _whole(self) -> list[Document]:
        return list(pages() if self.config.part == "pages" else texts())


def captioned(record: CaptionRecord) -> tuple[Segment, ...]:
    """The picture with its caption, as every caption in training and among shots."""
    return templates.answered(templates.caption_prompt(Image(record.image)), record.caption)


def named_in_chat(record: CaptionRecord) -> tuple[Segment, ...]:
    """A chat in which the user shows the picture and asks what it is."""
    return templates.chat_turn((Image(record.image), Text(templates.NAME)), record.caption)
