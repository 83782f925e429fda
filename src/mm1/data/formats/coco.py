"""COCO's captions: one JSON object of images and annotations, with a folder of pictures.

    {"images": [{"id": 9, "file_name": "9.jpg"}], "annotations": [{"id": 1, "image_id": 9, "caption": "a cat"}]}

One document a caption: a picture with five captions is read five times. The file is one object, so it is read whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data import templates
from mm1.data.formats.reading import Drop, Item, ReadOptions, Unusable, caption, document, each, picture_inside, take
from mm1.data.formats.whole_json import is_id, listed, whole_object
from mm1.types import Document


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The captions of a file; pictures are looked for in `options.images`, or in the file's folder.

    Raises:
        UserError: not the two lists.
    """
    try:
        whole = whole_object(path)
    except Unusable as error:
        yield Drop(error.reason, str(path))
        return
    images, annotations = listed(path, whole, "images"), listed(path, whole, "annotations")
    folder = options.images or path.parent
    names = {row["id"]: row.get("file_name") for row in images if isinstance(row, dict) and is_id(row.get("id"))}

    def make(where: str, row: Any) -> Document:
        text = caption(take(row, "caption", str))
        name = names.get(take(row, "image_id", int))
        if not isinstance(name, str):
            raise Unusable("missing image")
        prompt = templates.caption_prompt(picture_inside(folder, name))
        return document(f"{path.stem}/{row.get('id', where)}", templates.answered(prompt, text))

    yield from each(((f"{path} annotations[{place}]", row) for place, row in enumerate(annotations)), make)
