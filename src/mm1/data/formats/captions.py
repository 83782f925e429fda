"""Parquet tables of captioned pictures: a column of bytes, or of {"bytes", "path"}, and a column of captions.

    image: {bytes, path} | caption: "a red star"     →  Document("train/0", [Image, Text(caption)])

Written by img2dataset (a column `jpg`), Hugging Face `datasets` (a column `image`) and many others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data import templates
from mm1.data.formats import tables
from mm1.data.formats.reading import Drop, Item, ReadOptions, caption, document, each, picture
from mm1.types import Document

IMAGES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "img", "bytes")
CAPTIONS = ("caption", "text", "txt", "TEXT", "alt_text", "alt")
HOLDS_IMAGE = "bytes|picture"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The captioned pictures of a table; `options.text` names another column of captions.

    Raises:
        UserError: no column of pictures or of captions.
    """
    found = tables.columns(path)
    if found is None:
        return iter([Drop("damaged", str(path))])
    image = tables.choose(path, found, IMAGES, HOLDS_IMAGE)
    text = tables.choose(path, found, CAPTIONS, "text", options.text)

    def make(where: str, row: dict[str, Any]) -> Document:
        prompt = templates.caption_prompt(picture(row[image], options.images))
        number = where.rpartition(":")[2]
        return document(f"{path.stem}/{number}", templates.answered(prompt, caption(row[text])))

    return each(tables.rows(path, [image, text], options.share), make)
