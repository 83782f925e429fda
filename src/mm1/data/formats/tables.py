"""Parquet files as rows, a few at a time: the columns that are wanted, checked by name and by kind beforehand.

    found = columns(path)                                  # {"jpg": binary, "caption": string}, or None if damaged
    for where, row in rows(path, ["jpg", "caption"]): …    # {"jpg": b"…", "caption": "…"}, or a Drop

A row group that is damaged is dropped, all its rows counted, and the next one read. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from mm1.config import UserError
from mm1.data.formats.reading import MAX_DOCUMENT_BYTES, Drop, Located

_ROWS_AT_ONCE = 16
"""Rows in memory together at most: pages may have a hundred pictures each."""

_BYTES_AT_ONCE = 64 << 20
"""Of the rows in memory together, by what the rows of their group have on average."""


def columns(path: Path) -> dict[str, pa.DataType] | None:
    """The columns of `path` by name; None where it has no readable footer, as when it was cut off."""
    try:
        schema = parquet.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        _reraise_disk_error(error)
        return None
    return {field.name: field.type for field in schema}


def choose(
    path: Path, found: Mapping[str, pa.DataType], names: Sequence[str], kinds: str, option: str | None = None
) -> str:
    """The first of `names` that is among the columns `found` and is of one of the `kinds` that `kind_of` tells.

    Raises:
        UserError: there is none; it names the columns that are there and those that were looked for.
    """
    wanted = names if option is None else (option,)
    for name in wanted:
        if name in found and kind_of(found[name]) in kinds.split("|"):
            return name
    there = ", ".join(f"{name} ({kind_of(kind)})" for name, kind in found.items()) or "none"
    raise UserError(
        f"{path} has the columns {there}, but none is named {' or '.join(wanted)} and holds "
        f"{kinds.replace('|', ' or ')}: name another format with --format, or the column of the text with --text"
    )


def kind_of(kind: pa.DataType) -> str:
    """What a column holds, in a word: "text", "bytes", "picture" (a struct with bytes), "turns" (a struct with user and
    assistant), "segment" (a struct with type, text and image), "list of …", or the type's own name.
    """
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return "bytes"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list of {kind_of(kind.value_type)}"
    if pa.types.is_struct(kind):
        fields = {field.name for field in kind}
        if "bytes" in fields:
            return "picture"
        if {"user", "assistant"} <= fields:
            return "turns"
        if {"type", "text", "image"} <= fields:
            return "segment"
    return str(kind)


def rows(path: Path, names: Sequence[str], groups: range | None = None) -> Iterator[Located[dict[str, Any] | Drop]]:
    """The rows of `path`, or of some of its row groups, with the columns `names`, each with its number in the file.

    A row larger than a document may be is a Drop before it becomes Python's.
    """
    try:
        file = parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        _reraise_disk_error(error)
        yield str(path), Drop("damaged", str(path))
        return
    with file:
        first = 0
        for group in range(file.num_row_groups):
            number = first
            first += file.metadata.row_group(group).num_rows
            if groups is not None and group not in groups:
                continue
            try:
                count = _rows_at_once(file.metadata.row_group(group), names)
                batches = file.iter_batches(count, [group], columns=list(names), use_threads=False)
                for batch in batches:
                    yield from _located(path, number, batch)
                    number += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                _reraise_disk_error(error)
                where = f"{path}:{number}"
                yield where, Drop("damaged", where, count=first - number)


def group_shares(path: Path, size: int) -> list[range | None]:
    """Neighbouring row groups that hold about `size` bytes together, for processes to read apart; [None] of a file that
    is damaged, or not larger.
    """
    try:
        metadata = parquet.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        _reraise_disk_error(error)
        return [None]
    starts, held = [0], 0
    for group in range(metadata.num_row_groups):
        more = metadata.row_group(group).total_byte_size
        if held and held + more > size:
            starts.append(group)
            held = 0
        held += more
    if len(starts) == 1:
        return [None]
    return [range(start, stop) for start, stop in pairwise([*starts, metadata.num_row_groups])]


def _rows_at_once(group: parquet.RowGroupMetaData, names: Sequence[str]) -> int:
    """So many rows of a group that they are not too many bytes together, if they are like the others."""
    columns = (group.column(number) for number in range(group.num_columns))
    size: int = sum(part.total_uncompressed_size for part in columns if part.path_in_schema.partition(".")[0] in names)
    average = max(1, size // max(1, int(group.num_rows)))
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // average))


def _located(path: Path, number: int, batch: pa.RecordBatch) -> Iterator[Located[dict[str, Any] | Drop]]:
    for place, row in enumerate(_values(batch), number):
        where = f"{path}:{place}"
        yield where, Drop(row, where) if isinstance(row, str) else row


def _values(batch: pa.RecordBatch) -> Iterable[dict[str, Any] | str]:
    """The rows as Python values, or why one can not be: text that is not UTF-8, more than a document may have."""
    if batch.nbytes <= MAX_DOCUMENT_BYTES:
        try:
            values: list[dict[str, Any]] = batch.to_pylist()
            return values
        except UnicodeDecodeError:
            pass
    return (_value(batch.slice(row, 1)) for row in range(batch.num_rows))


def _value(row: pa.RecordBatch) -> dict[str, Any] | str:
    if row.nbytes > 2 * MAX_DOCUMENT_BYTES:  # twice, for pictures that are spelled in text
        return "document too large"
    try:
        value: dict[str, Any] = row.to_pylist()[0]
    except UnicodeDecodeError:
        return "invalid UTF-8"
    return value


def _reraise_disk_error(error: Exception) -> None:
    """Arrow's complaints about content are OSErrors without a number; a disk's have one."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
