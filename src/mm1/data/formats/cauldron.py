"""Instruction data as The Cauldron and FineVision have it: parquet, a list of pictures and a list of turns.

    images: [{bytes, path}] | texts: [{"user": "What is this?", "assistant": "A cat."}]

Pictures come before the first question, or where the questions say `<image>`. Rows without pictures are text chats.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data.formats import tables
from mm1.data.formats.chats import chat
from mm1.data.formats.reading import Drop, Item, ReadOptions, bounded, document, each, picture, take
from mm1.types import Document

IMAGES = "list of bytes|list of picture"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The chats of a table.

    Raises:
        UserError: not the two columns.
    """
    found = tables.columns(path)
    if found is None:
        return iter([Drop("damaged", str(path))])
    names = [tables.choose(path, found, ("images",), IMAGES), tables.choose(path, found, ("texts",), "list of turns")]

    def make(where: str, row: dict[str, Any]) -> Document:
        images = bounded(picture(value, options.images) for value in row["images"] or [])
        turns = [(take(turn, "user", str), take(turn, "assistant", str)) for turn in take(row, "texts", list)]
        return document(f"{path.stem}/{where.rpartition(':')[2]}", chat(images, turns))

    return each(tables.rows(path, names, options.share), make)
