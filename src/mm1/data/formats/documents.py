"""mm1's own Documents as JSON, one object a line: what curation writes, and what one writes by hand.

    {"id": "a", "segments": [{"type": "image", "image": "cat.jpg"}, {"type": "text", "text": "a cat", "target": true}]}

An image is a path relative to the file, an absolute path, or a data: URI. Such a file is the user's own and may name
any picture; every other format is confined to its picture folder. `target` is true where it is not given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data.formats.reading import Item, ReadOptions, Unusable, document, each, from_data_uri, read_picture, take
from mm1.data.formats.streams import json_records
from mm1.types import Document, Image, Segment, Text


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The documents of a JSONL file; relative paths count from `options.images`, or from the file's folder."""
    folder = options.images or path.parent

    def make(where: str, row: dict[str, Any]) -> Document:
        name = row.get("id", where.rpartition("/")[2])
        return document(str(name), (_segment(part, folder) for part in take(row, "segments", list)))

    return each(json_records(path, options.share), make)


def _segment(part: object, folder: Path) -> Segment:
    kind = take(part, "type", str)
    if kind == "text":
        assert isinstance(part, dict)
        target = part.get("target", True)
        if not isinstance(target, bool):
            raise Unusable("target is neither true nor false")
        return Text(take(part, "text", str), target)
    if kind == "image":
        return _image(take(part, "image", str), folder)
    raise Unusable("segment of unknown type")


def _image(name: str, folder: Path) -> Image:
    return from_data_uri(name) if name.startswith("data:") else read_picture(folder / name)
