"""The index of a folder of shards: which files there are, what is in them, and whose ids their lengths count.

    write_index(folder, "captions", tokenizer.digest, shards)
    join_shards(folder, "captions", ["part-00000", "part-00001"])     # one source of two folders inside `folder`

It is written last, so a folder without one is unfinished. Knows nothing of what stands in a shard.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.files import write_atomically

INDEX = "index.json"
FORMAT = 2


def write_index(folder: Path, name: str, tokenizer: str, shards: Sequence[dict[str, Any]]) -> None:
    """Says that `folder` is finished.

    Args:
        folder: where the shards stand.
        name: the source's name.
        tokenizer: the digest of the tokenizer that gave the lengths.
        shards: of each its "file" (relative to the folder), "documents", "batches", "bytes" and "sha256".
    """
    index = {
        "format": FORMAT,
        "name": name,
        "tokenizer": tokenizer,
        "documents": sum(shard["documents"] for shard in shards),
        "shards": list(shards),
    }
    write_atomically(folder / INDEX, (json.dumps(index, indent=2) + "\n").encode())


def join_shards(folder: Path, name: str, parts: Sequence[str]) -> None:
    """Makes one source of the finished folders `parts` inside `folder`, in their order; no shard is copied."""
    indexes = [read_index(folder / part) for part in parts]
    tokenizers = {index["tokenizer"] for index in indexes}
    assert len(tokenizers) == 1, "the parts of a source are written with one tokenizer"
    shards = [
        {**shard, "file": f"{part}/{shard['file']}"}
        for part, index in zip(parts, indexes, strict=True)
        for shard in index["shards"]
    ]
    write_index(folder, name, tokenizers.pop(), shards)


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
    if index.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {index.get('format')!r} where this version reads {FORMAT}: prepare it again"
        )
    return index
