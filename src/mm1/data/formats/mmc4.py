"""Interleaved pages as MMC4 has them, one JSON object a line: sentences, and pictures matched to them.

    {"text_list": ["One.", "Two."], "image_info": [{"image_name": "b.jpg", "matched_text_index": 1}]}
        →  [Text("One."), Image(b.jpg), Text("Two.")]

A picture stands before its sentence, as in the models trained on MMC4 (OpenFlamingo). Its bytes are in the row
(`image_base64`) or in a file of the picture folder (`image_name`). The published files have neither, only a URL: a
picture that was never downloaded is dropped and the page goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data.formats.reading import (
    MAX_DOCUMENT_BYTES,
    Drop,
    Item,
    ReadOptions,
    Unusable,
    document,
    each,
    from_base64,
    page,
    picture_inside,
    room_after,
    take,
)
from mm1.data.formats.streams import json_records
from mm1.types import Image, Segment, Text

SEPARATOR = " "
"""Between two sentences."""


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The pages of a JSONL file; pictures are looked for in `options.images`."""
    folder = options.images or path.parent

    def make(where: str, row: dict[str, Any]) -> Iterator[Item]:
        sentences, about = take(row, "text_list", list), take(row, "image_info", list)
        if not all(isinstance(sentence, str) for sentence in sentences):
            raise Unusable("no text_list")
        before: dict[int, list[Image]] = {}
        room = MAX_DOCUMENT_BYTES
        for info in about:
            try:
                index = take(info, "matched_text_index", int)
                if not 0 <= index < len(sentences):
                    raise Unusable("image matched to no sentence")
                image = _picture(info, folder)
            except Unusable as error:
                yield Drop(error.reason, where, what="image")
                continue
            room = room_after(image, room)
            before.setdefault(index, []).append(image)
        if about and not before:
            raise Unusable("no image left")
        parts: list[Segment] = []
        for index, sentence in enumerate(sentences):
            parts += [*before.get(index, ()), Text(sentence)]
        yield document(f"{path.name.partition('.')[0]}/{where.rpartition(':')[2]}", page(parts, SEPARATOR))

    return each(json_records(path, options.share), make)


def _picture(info: dict[str, Any], folder: Path) -> Image:
    if isinstance(info.get("image_base64"), str):
        return from_base64(info["image_base64"])
    if isinstance(info.get("image_name"), str):
        return picture_inside(folder, info["image_name"])
    raise Unusable("image without bytes")
