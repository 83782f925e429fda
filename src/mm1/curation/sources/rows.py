"""Rows of files, a slice at a time: lines, CSV, JSONL (plain, gzip, zstd), parquet; each with its place for good.

    for place, row in rows(RowSlice(Path("pages.jsonl"), "jsonl", ("html", "url"))):
        …      # "0", {"html": "<p>…", "url": "https://…"}; or Dropped, counted, where a row can not be read

A row's place names it for good, however the file was cut: the byte at which its line begins, or its number in a table.
Knows nothing of pages.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from mm1.curation.page import Dropped
from mm1.curation.sources.part import Layout
from mm1.data.formats import tables
from mm1.data.formats.reading import Drop, Unusable
from mm1.data.formats.streams import Damaged, open_stream, parse_json

Row: TypeAlias = tuple[str, dict[str, Any] | Dropped]
MAX_LINE = 32 << 20
"""Bytes of a line; a longer one is dropped as too_large without being held."""
TEXT_KINDS = ("text", "bytes")
"""Columns of a table that are read, in the words of tables.kind_of; of all others the values are None."""
_SKIP = 1 << 20


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Rows of one file. `start` and `stop` count bytes of JSONL and row groups of parquet; stop 0 is the end."""

    path: Path
    layout: Layout
    columns: tuple[str, ...]
    """What is wanted; a column that a row lacks, or a table's column that holds no text, is None in it."""
    start: int = 0
    stop: int = 0


def rows(wanted: RowSlice) -> Iterator[Row]:
    """The rows of a slice with their places. Where a stream is cut off or damaged one Dropped stands for the rest."""
    if wanted.layout == "parquet":
        yield from _table_rows(wanted)
    elif wanted.layout == "csv":
        yield from _csv_rows(wanted)
    else:
        for place, line in _lines(wanted):
            yield place, line if isinstance(line, Dropped) else _of_line(line, wanted)


def _of_line(line: bytes, wanted: RowSlice) -> dict[str, Any] | Dropped:
    if wanted.layout == "lines":
        return {wanted.columns[0]: line.decode("utf-8", "replace")}
    try:
        value = parse_json(line)
    except Unusable:
        return Dropped("invalid_json")
    return {name: value.get(name) for name in wanted.columns} if isinstance(value, dict) else Dropped("no_json_object")


def _lines(wanted: RowSlice) -> Iterator[tuple[str, bytes | Dropped]]:
    """The lines that begin within the slice, without their ends and the file's byte order mark; blank ones are left
    out.
    """
    place = wanted.start
    try:
        with open_stream(wanted.path) as stream:
            if place:  # a line that begins before the slice is another's
                stream.seek(place - 1)
                place += _skip(stream) - 1
            while (not wanted.stop or place < wanted.stop) and (line := stream.readline(MAX_LINE)):
                begun, place = place, place + len(line)
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    place += _skip(stream)
                    yield str(begun), Dropped("too_large")
                elif line := (line if begun else line.removeprefix(codecs.BOM_UTF8)).strip(b" \t\r\n"):
                    yield str(begun), line
    except Damaged as error:
        yield str(place), Dropped(f"{error.reason}_file")


def _skip(stream: IO[bytes]) -> int:
    """Reads to the end of the line; the number of bytes."""
    skipped = 0
    while part := stream.readline(_SKIP):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _csv_rows(wanted: RowSlice) -> Iterator[Row]:
    number = -1
    try:
        with open_stream(wanted.path) as stream, io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as text:
            reader = csv.DictReader(_bounded_lines(text))
            while (number := number + 1) >= 0:
                try:
                    row = next(reader)
                except csv.Error:  # a field beyond csv's limit, or a NUL
                    yield str(number), Dropped("invalid_csv")
                    continue
                except StopIteration:
                    return
                yield str(number), {name: row.get(name) for name in wanted.columns}
    except Damaged as error:
        yield str(number), Dropped(f"{error.reason}_file")


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines with their ends; of one without end the beginning, whose last field is beyond csv's limit."""
    while line := text.readline(MAX_LINE):
        yield line
        while len(line) == MAX_LINE and not line.endswith(("\r", "\n")):
            line = text.readline(MAX_LINE)


def _table_rows(wanted: RowSlice) -> Iterator[Row]:
    found = tables.columns(wanted.path) or {}
    names = [name for name in wanted.columns if name in found and tables.kind_of(found[name]) in TEXT_KINDS]
    blank = dict.fromkeys(wanted.columns)
    for where, row in tables.rows(wanted.path, names, range(wanted.start, wanted.stop) if wanted.stop else None):
        place = where.rpartition(":")[2]
        if isinstance(row, Drop):
            reason = re.sub("[^a-z0-9]+", "_", row.reason.lower())
            yield from ((place, Dropped(reason)) for _ in range(row.count))
        else:
            yield place, blank | row
