r"""Instruction data as LLaVA has it: JSON, one array or one object a line, with a folder of pictures.

    {"id": "1", "image": "coco/1.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat?"},
                                                         {"from": "gpt", "value": "A cat."}]}

`image` may be a list, or not be there. A system turn is put before the first question.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data.formats.chats import chat
from mm1.data.formats.reading import Item, ReadOptions, Unusable, bounded, document, each, picture_inside, take
from mm1.data.formats.streams import json_records
from mm1.types import Document, Image

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The chats of a file; pictures are looked for in `options.images`, or in the file's folder."""
    folder = options.images or path.parent

    def make(where: str, row: dict[str, Any]) -> Document:
        turns = _turns(take(row, "conversations", list))
        name = row.get("id", where.rpartition("/")[2])
        return document(f"{path.name.partition('.')[0]}/{name}", chat(_images(row, folder), turns))

    return each(json_records(path, options.share), make)


def _images(row: dict[str, Any], folder: Path) -> list[Image]:
    named = row.get("image") or row.get("images") or []
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unusable("image is no path")
    return bounded(picture_inside(folder, name) for name in names)


def _turns(conversation: list[Any]) -> list[tuple[str, str]]:
    said = [(_ROLES.get(take(turn, "from", str)), take(turn, "value", str)) for turn in conversation]
    system = f"{said[0][1].strip()}\n" if said and said[0][0] == "system" else ""
    if system:
        said = said[1:]
    if [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2):
        raise Unusable("turns are not question and answer in turn")
    texts = [text for _, text in said]
    if texts:
        texts[0] = system + texts[0]
    return list(zip(texts[::2], texts[1::2], strict=True))
