"""Text alone: plain files, JSON objects with a text, parquet with a column of text.

book.txt                            one document, as it is
{"text": "Once upon a time …"}      one document a line
text: "Once upon a time …"          one document a row
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mm1.data.formats import tables
from mm1.data.formats.reading import Drop, Item, Located, ReadOptions, document, each, take
from mm1.data.formats.streams import FAILURES, Damaged, decoded, json_records, open_stream, place
from mm1.types import Document, Text

NAMES = ("text", "content")
MAX_TEXT = 16 << 20
"""Bytes of a document of plain text. A longer file goes on in another document, which begins after a line break."""


def read_plain(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The file as one document, or as several where it is longer than MAX_TEXT."""

    def make(where: str, text: bytes) -> Document:
        return document(f"{path.name}/{where.rpartition(':')[2]}", [Text(decoded(text))])

    return each(_parts(path, options.share), make)


def _parts(path: Path, share: range | None = None) -> Iterator[Located[bytes | Drop]]:
    try:
        with open_stream(path, share) as stream:
            for number, part in enumerate(_cut(stream)):
                if part or share is None:  # no line may begin in a share
                    yield place(path, number, share), part
    except Damaged as error:
        yield str(path), Drop(error.reason, str(path))


def _cut(stream: IO[bytes]) -> Iterator[bytes]:
    """The content in parts of at most MAX_TEXT bytes, whole characters, if possible whole lines; before the end of a
    stream that can not be read to its end, whole lines.
    """
    part, begun = bytearray(), False
    while True:
        try:
            data = stream.read1(MAX_TEXT - len(part))  # type: ignore[attr-defined]  # of all that `open_stream` gives
        except FAILURES:
            if end := part.rfind(b"\n") + 1:
                yield bytes(part[:end])
            raise
        part += data
        if len(part) == MAX_TEXT:
            end = part.rfind(b"\n") + 1
            if end == 0:
                _, end = codecs.utf_8_decode(part, "surrogateescape", False)  # all but a character that is cut in two
            yield bytes(part[:end])
            del part[:end]
            begun = True
        elif not data:
            if part or not begun:
                yield bytes(part)
            return


def read_json(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The texts of JSON objects, under `options.text`, or under one of NAMES."""

    def make(where: str, row: dict[str, Any]) -> Document:
        key = options.text or next((name for name in NAMES if name in row), NAMES[0])
        name = row.get("id", where.rpartition(":")[2])
        return document(f"{path.name.partition('.')[0]}/{name}", [Text(take(row, key, str))])

    return each(json_records(path, options.share), make)


def read_table(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The texts of a column, `options.text` or one of NAMES.

    Raises:
        UserError: no such column.
    """
    found = tables.columns(path)
    if found is None:
        return iter([Drop("damaged", str(path))])
    name = tables.choose(path, found, NAMES, "text", options.text)

    def make(where: str, row: dict[str, Any]) -> Document:
        return document(f"{path.stem}/{where.rpartition(':')[2]}", [Text(take(row, name, str))])

    return each(tables.rows(path, [name], options.share), make)
