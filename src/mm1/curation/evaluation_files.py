"""The images and texts of evaluations, from whatever files hold them, to be kept out of a training set.

    for item in read_evaluations([Path("vqa/"), Path("questions.jsonl")]):
        item                                    # a text, a picture's bytes, or a Drop with its reason

No format is asked for: every text in a row (question, choices, answer, caption) is a text of the evaluation, and every
picture (a file, bytes in a table, base64, a name beside the file) is a picture of it: rather too much than too little.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mm1.config import UserError
from mm1.data.formats import tables
from mm1.data.formats.reading import Drop, Unusable, picture_inside, read_picture
from mm1.data.formats.streams import Damaged, decoded, head, json_records, lines
from mm1.data.formats.whole_json import whole_object

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
TABLES = (".parquet",)
RECORDS = (".jsonl", ".ndjson", ".json")
TEXTS = (".txt", ".md", ".csv", ".tsv")
"""A text a line."""
_COMPRESSED = (".gz", ".zst", ".zip")
_BASE64_STARTS = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")
"""JPEG, PNG, GIF and WebP in base64."""

Found: TypeAlias = str | bytes | Drop
Named: TypeAlias = Callable[[Path], object]


def read_evaluations(paths: Sequence[Path], named: Named = lambda path: None) -> Iterator[Found]:
    """All texts and pictures of files, and of the files of folders.

    Args:
        paths: Of files and folders.
        named: Told of each file that a row names beside its own, before it is looked for.

    Raises:
        UserError: as `files_of`.
    """
    for file in files_of(paths):
        yield from _read(file, named)


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and those of folders in the order of their names.

    Raises:
        UserError: a path that is not there, a file of no such kind, or a folder without any.
    """
    for path in paths:
        files = sorted(one for one in path.rglob("*") if one.is_file() and _kind(one)) if path.is_dir() else [path]
        if not path.exists():
            raise UserError(f"{path} is not there: name files or folders of evaluation images and questions")
        if not files or _kind(files[0]) is None:
            known = ", ".join((*PICTURES, *TABLES, *RECORDS, *TEXTS))
            raise UserError(f"{path} holds no evaluation that can be read: give files that end in {known}")
        yield from files


def _kind(path: Path) -> tuple[str, ...] | None:
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return next((kind for kind in (PICTURES, TABLES, RECORDS, TEXTS) if name.endswith(kind)), None)


def _read(path: Path, named: Named) -> Iterator[Found]:
    kind = _kind(path)
    if kind == PICTURES:
        try:
            yield read_picture(path).data
        except Unusable as error:
            yield Drop(error.reason, str(path), what="image")
    elif kind == TABLES:
        columns = tables.columns(path)
        rows = tables.rows(path, list(columns)) if columns else [(str(path), Drop("damaged", str(path)))]
        yield from _walk_rows(rows, path.parent, named)
    elif kind == RECORDS:
        yield from _read_json(path, named)
    else:
        for _, line in lines(path):
            yield line if isinstance(line, Drop) else decoded(line)


def _read_json(path: Path, named: Named) -> Iterator[Found]:
    """One object, an array of objects, or an object a line."""
    rows: Iterable[tuple[str, Any]]
    try:
        is_object = head(path, 1 << 10).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and ".json" in path.suffixes
        rows = [(str(path), whole_object(path))] if is_object else json_records(path)
    except (Damaged, Unusable) as error:
        rows = [(str(path), Drop(error.reason, str(path)))]
    yield from _walk_rows(rows, path.parent, named)


def _walk_rows(rows: Iterable[tuple[str, Any]], folder: Path, named: Named) -> Iterator[Found]:
    for _, row in rows:
        if isinstance(row, Drop):
            yield row
        else:
            yield from _walk(row, folder, named)


def _walk(value: Any, folder: Path, named: Named) -> Iterator[Found]:
    """The texts and pictures in a row, however deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, bytes):
            yield value
        elif isinstance(value, str):
            yield _text_or_picture(value, folder, named)


def _text_or_picture(value: str, folder: Path, named: Named) -> str | bytes:
    if value.lower().endswith(PICTURES) and len(value) < 4096:
        named(folder / value)
        try:
            return picture_inside(folder, value).data
        except Unusable:
            return value
    encoded = value.partition(",")[2] if value.startswith("data:image/") else value
    if encoded.startswith(_BASE64_STARTS):
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError:  # not base64, or not even ASCII
            return value
    return value
