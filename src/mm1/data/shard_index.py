"""The index of a folder of shards: which files there are, what is in them, and whose ids their lengths count.

    write_index(folder, "captions", tokenizer.digest, shards, lengths.about)
    join_shards(folder, "captions", ["part-00000", "part-00001"])     # one source of two folders inside `folder`

It is written last, so a folder without one is unfinished. Knows nothing of what stands in a shard.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.data.lengths import ROWS, About, Lengths, LengthsWriter
from mm1.files import write_atomically

INDEX = "index.json"
FORMAT = 3


def write_index(folder: Path, name: str, tokenizer: str, shards: Sequence[dict[str, Any]], lengths: About) -> None:
    """Says that `folder` is finished.

    Args:
        folder: where the shards stand.
        name: the source's name.
        tokenizer: the digest of the tokenizer that gave the lengths.
        shards: of each its "file" (relative to the folder), "documents", "batches", "bytes" and "sha256".
        lengths: what tells of the tables of lengths beside them.
    """
    index = {
        "format": FORMAT,
        "name": name,
        "tokenizer": tokenizer,
        "documents": sum(shard["documents"] for shard in shards),
        "lengths": lengths,
        "shards": list(shards),
    }
    write_atomically(folder / INDEX, (json.dumps(index, indent=2) + "\n").encode())


def join_shards(folder: Path, name: str, parts: Sequence[str]) -> None:
    """Makes one source of the finished folders `parts` inside `folder`, in their order.

    Their lengths are copied to one set of tables, of which any document is found at once; no shard is.
    """
    indexes = [read_index(folder / part) for part in parts]
    tokenizers = {index["tokenizer"] for index in indexes}
    assert len(tokenizers) == 1, "the parts of a source are written with one tokenizer"
    shards = [
        {**shard, "file": f"{part}/{shard['file']}"}
        for part, index in zip(parts, indexes, strict=True)
        for shard in index["shards"]
    ]
    writer = LengthsWriter(folder)
    for part, index in zip(parts, indexes, strict=True):
        writer.join(Lengths(folder / part, index["lengths"], name))
    write_index(folder, name, tokenizers.pop(), shards, writer.about)


def read_index(folder: Path) -> dict[str, Any]:
    """The index of `folder`.

    Raises:
        UserError: there is none, it is broken, or of another version.
    """
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {INDEX}: it is no folder of shards, or was not finished; prepare it"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): prepare the source again") from None
    found = index.get("format") if isinstance(index, dict) else None
    if found != FORMAT:
        raise UserError(f"{path} has format {found!r} where this version reads {FORMAT}: prepare it again")
    if not _is_whole(index):
        raise UserError(f"{path} is not what prepare writes, something in it is missing or changed: prepare it again")
    return index


def _is_whole(index: dict[str, Any]) -> bool:
    """Whether all that is read of an index is there, and its numbers agree."""
    try:
        rows = {table: index["lengths"][table]["rows"] for table in ROWS}
        checksums = [index["lengths"][table]["sha256"] for table in ROWS]
        shards = [(shard["file"], shard["bytes"], shard["sha256"], shard["documents"]) for shard in index["shards"]]
        documents = sum(count for shard in index["shards"] for count in shard["batches"])
        known = {index["documents"], documents, rows["documents"], sum(shard[-1] for shard in shards)}
        return len(known) == 1 and all(
            isinstance(text, str) for text in (index["name"], index["tokenizer"], *checksums)
        )
    except (KeyError, TypeError, AttributeError):
        return False
