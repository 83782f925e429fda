"""Captions beside pictures in a folder, as Hugging Face's `imagefolder` has them: metadata.jsonl, one object a line.

    {"file_name": "cats/1.png", "text": "a cat"}     →  Document("train/cats/1.png", [Image, Text(caption)])

The folder with the metadata is that of the pictures. Of its other columns none is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data import templates
from mm1.data.formats.captions import CAPTIONS
from mm1.data.formats.reading import Item, ReadOptions, caption, document, each, picture_inside, take
from mm1.data.formats.streams import json_records
from mm1.types import Document

NAME = "file_name"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The captioned pictures; `options.text` names another key of captions, `options.images` another folder."""
    folder = options.images or path.parent

    def make(where: str, row: dict[str, Any]) -> Document:
        name = take(row, NAME, str)
        key = options.text or next((key for key in CAPTIONS if key in row), CAPTIONS[0])
        text = caption(row.get(key))
        prompt = templates.caption_prompt(picture_inside(folder, name))
        return document(f"{path.parent.name}/{name}", templates.answered(prompt, text))

    return each(json_records(path, options.share), make)
