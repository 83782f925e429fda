"""WebDataset tars of captioned pictures, as img2dataset writes them: members of one sample stand one after another.

    000000.jpg  000000.txt  000000.json     →  Document("00000/000000", [Image, Text(caption)])

A sample's key is its name up to the first dot of the last part, as in webdataset; what follows names the field. The
caption is the text of `.txt` or `.caption`, or else "caption" or "text" of `.json`. Other fields, pickles among them,
are never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from mm1.data import templates
from mm1.data.formats.reading import Drop, Item, Located, ReadOptions, Unusable, caption, document, each
from mm1.data.formats.streams import MAX_LINE, Damaged, decoded, parse_json
from mm1.data.formats.tar import members
from mm1.types import Document, Image

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
TEXTS = ("txt", "caption")
KEYS = ("caption", "text")

_Fields: TypeAlias = dict[str, bytes | None]


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The captioned pictures of a tar; `options.text` names another field, or another key of `.json`."""

    def make(_: str, sample: tuple[str, _Fields]) -> Document:
        key, fields = sample
        prompt = templates.caption_prompt(_image(fields))
        return document(f"{path.name.partition('.')[0]}/{key}", templates.answered(prompt, _caption(fields, options)))

    return each(_samples(path, options), make)


def split_name(name: str) -> tuple[str, str]:
    """A member's key and field: "a.d/000.seg.PNG" is ("a.d/000", "seg.png")."""
    folder, slash, last = name.rpartition("/")
    key, _, field = last.partition(".")
    return folder + slash + key, field.lower()


def _samples(path: Path, options: ReadOptions) -> Iterator[Located[tuple[str, _Fields] | Drop]]:
    known = {*IMAGES, *TEXTS, "json", options.text}

    def is_wanted(name: str) -> bool:
        key, field = split_name(name)
        return bool(key.rpartition("/")[2]) and field in known

    current: str | None = None
    fields: _Fields = {}
    try:
        for member in members(path, is_wanted):
            key, field = split_name(member.name)
            if current is not None and (key != current or field in fields):
                yield f"{path}:{current}", (current, fields)
                fields = {}
            current = key
            fields[field] = member.data
    except Damaged as error:
        if current is not None and _is_whole(fields):
            yield f"{path}:{current}", (current, fields)
        yield str(path), Drop(error.reason, str(path))
    else:
        if current is not None:
            yield f"{path}:{current}", (current, fields)


def _is_whole(fields: _Fields) -> bool:
    """Whether a sample that was cut off has lost nothing that is needed."""
    return any(field in fields for field in IMAGES) and any(field not in IMAGES for field in fields)


def _image(fields: _Fields) -> Image:
    for field in IMAGES:
        if field in fields:
            data = fields[field]
            if data is None:
                raise Unusable("image too large")
            return Image(data)
    raise Unusable("no image")


def _caption(fields: _Fields, options: ReadOptions) -> str:
    for field in TEXTS if options.text is None else (options.text,):
        if field in fields and field != "json":
            return caption(decoded(_bounded(fields[field])))
    if "json" not in fields:
        raise Unusable("no caption")
    about = parse_json(_bounded(fields["json"]))
    for key in KEYS if options.text is None else (options.text,):
        if isinstance(about, dict) and isinstance(about.get(key), str):
            return caption(about[key])
    raise Unusable("no caption")


def _bounded(data: bytes | None) -> bytes:
    if data is None or len(data) > MAX_LINE:
        raise Unusable("text too long")
    return data
