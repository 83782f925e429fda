"""The small real sample that ships inside the package: captioned pictures, illustrated pages, plain text.

    caption_records("train")[0]          # CaptionRecord(id="openclipart/…", source="openclipart", image=b"RIFF…", …)
    distractors(record, k=3, seed=0)     # three other names that are plainly not this picture's

Emoji, clip art and pictograms, three styles of often the same things: `concept` is the name a thing goes by across
styles. What it is made of, who made it and under which licences: sample/README.md. Knows nothing of tokens, sources of
a mixture or tasks.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias

import pyarrow.parquet as parquet

from mm1.config import UserError
from mm1.types import Document, Image, Segment, Text

Split: TypeAlias = Literal["train", "test", "style_test"]


@dataclass(frozen=True, slots=True)
class CaptionRecord:
    """A picture with its name."""

    id: str
    """`source/name`, the name being the original's own: a path, a code point, or author and icon."""
    source: str
    """The style: "openclipart", "twemoji" or "game_icons"."""
    image: bytes
    """Encoded, 64x64 pixels on white."""
    caption: str
    """Lower-case ASCII, at most eight words."""
    concept: str | None
    """What the thing is called in every source that shows it; None where only one source does."""


def caption_records(split: Split) -> list[CaptionRecord]:
    """The records of a split, in the order of the file.

    `test`: held-out naming; no caption of it occurs in `train` within the same source. `style_test`: concepts that
    `train` shows as emoji only, here as clip art or pictograms, captioned by the concept itself.
    """
    return list(_records()[split])


def distractors(record: CaptionRecord, k: int, seed: int) -> list[str]:
    """`k` distinct captions of other things from the record's own source and split, by (seed, record) alone.

    The same split, so that a name which training never saw does not stand among names which it saw often. A caption
    whose words include the record's, or are included in them ("cat", "black cat"), could be right and is left out.

    Raises:
        UserError: fewer than `k` such captions exist.
    """
    right = [_words(name) for name in (record.caption, record.concept) if name]
    pool = [
        caption
        for caption, names in _names(record.source, _splits()[record.id]).items()
        if not any(a <= b or b <= a for a in right for b in map(_words, names))
    ]
    if k > len(pool):
        raise UserError(f"{k} distractors asked for {record.id}, but only {len(pool)} fit: ask for fewer")
    return random.Random(f"{seed}/{record.id}").sample(pool, k)


def pages() -> Iterator[Document]:
    """Illustrated pages, text and pictures in their order; pictures at most 96 pixels long."""
    for row in _rows("pages.parquet"):
        yield Document(id=row["id"], segments=tuple(map(_segment, row["segments"])), source=row["source"])


def texts() -> Iterator[Document]:
    """Plain text, one Text a document."""
    for row in _rows("text.parquet"):
        yield Document(id=row["id"], segments=(Text(row["text"]),), source=row["source"])


def _segment(part: dict[str, Any]) -> Segment:
    return Text(part["text"]) if part["image"] is None else Image(part["image"])


@cache
def _records() -> dict[str, list[CaptionRecord]]:
    records: dict[str, list[CaptionRecord]] = {"train": [], "test": [], "style_test": []}
    for row in _rows("captions.parquet"):
        fields = {name: row[name] for name in CaptionRecord.__dataclass_fields__}
        records[row["split"]].append(CaptionRecord(**fields))
    return records


@cache
def _splits() -> dict[str, str]:
    return {record.id: split for split, records in _records().items() for record in records}


@cache
def _names(source: str, split: str) -> dict[str, set[str]]:
    """Captions of a source's split, each with itself and the concepts of its records."""
    names: dict[str, set[str]] = {}
    for record in _records()[split]:
        if record.source == source:
            names.setdefault(record.caption, {record.caption}).add(record.concept or record.caption)
    return names


def _words(name: str) -> frozenset[str]:
    """The words of a name, without the endings that tell many from one."""
    return frozenset(word.removesuffix("s").removesuffix("e") for word in name.replace("-", " ").split())


def _rows(name: str) -> list[dict[str, Any]]:
    data = resources.files("mm1.data").joinpath("sample", name).read_bytes()
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return rows
