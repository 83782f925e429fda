"""The first stage: sources of documents become a tokenizer and, for each source, a folder of shards.

    prepare/tokenizer.json
    prepare/shards/NAME/…    as parts.py says
    prepare/summary.json     {"documents", "images", "tokens", "lengths", "dropped", …, "sources": {name: …}}

Sources are made (a synthetic world, the embedded sample), read from files of public formats, or linked where they were
prepared elsewhere. They are written in parallel, a part at a time; what is finished is not written again. The tokenizer
is trained on the head of every source before that, or is one that is there already. Knows nothing of mixtures: what is
drawn from the shards, and how often, is each training stage's plan.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from mm1.chain.parts import Losses, Part, finish_source, head_of, parts_of
from mm1.chain.workers import Progress, write_parts
from mm1.checkpoint import copy_tokenizer
from mm1.config import Config, Count, UserError, to_json
from mm1.data.embedded_source import EmbeddedConfig
from mm1.data.formats.files import FilesConfig, fingerprint_of
from mm1.data.shard_index import INDEX
from mm1.data.shards import ShardSource
from mm1.data.synthetic.source import SyntheticConfig
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.files import sha256_of, write_atomically
from mm1.steps import locked
from mm1.types import Text

TOKENIZER = "tokenizer.json"
SUMMARY = "summary.json"
RECORD = "prepare.json"
"""What a folder was prepared from, where no step says it."""
MOST_IDS = 10**7
"""Of a tokenizer: its training sets memory aside for as many as it is told, and aborts where there is none."""
MOST_PROCESSES = 4096
_LENGTH_BINS = (16, 32, 64, 128, 256, 512, 1024)
_COUNTED_AT_ONCE = 1 << 20
"""Documents whose lengths are in memory together."""


class ShardsConfig(Config):
    """A folder of shards that was prepared elsewhere, with the tokenizer that `PrepareConfig.tokenizer` names."""

    kind: Literal["shards"] = "shards"
    name: str
    path: Path


class PrepareConfig(Config):
    """What is prepared."""

    sources: tuple[
        Annotated[SyntheticConfig | EmbeddedConfig | FilesConfig | ShardsConfig, Field(discriminator="kind")], ...
    ]
    tokenizer: Path | None = None
    """A tokenizer.json to use; None trains one."""
    vocab_size: int = Field(default=1024, ge=1, le=MOST_IDS)
    """Of the tokenizer that is trained."""
    tokenizer_documents: Count = 400
    """Documents of each source, from its head, on which it is trained."""
    num_processes: int = Field(default=2, ge=1, le=MOST_PROCESSES)

    @model_validator(mode="after")
    def _check(self) -> PrepareConfig:
        linked = [source.name for source in self.sources if isinstance(source, ShardsConfig)]
        if linked and self.tokenizer is None:
            raise ValueError(f"source '{linked[0]}' was prepared with a tokenizer: give its path as prepare.tokenizer")
        return self


def identity(config: PrepareConfig) -> dict[str, Any]:
    """All that the prepared folder depends on, as JSON values: files by their content, wherever they lie.

    Raises:
        UserError: a tokenizer or a folder of shards is not there.
    """
    # How many processes write the shards changes nothing in them.
    values = to_json(config.replace(num_processes=1))
    if config.tokenizer is not None:
        values["tokenizer"] = Tokenizer(config.tokenizer).digest
    for source, entry in zip(config.sources, values["sources"], strict=True):
        if isinstance(source, ShardsConfig):
            entry["path"] = sha256_of(_linked(source).folder / INDEX)  # which holds the checksum of every shard
        elif isinstance(source, FilesConfig):
            entry["paths"] = fingerprint_of(source)
    return values


def prepare(
    config: PrepareConfig, folder: Path, say: Callable[[str], None], progress: Progress | None = None
) -> dict[str, Any]:
    """Fills `folder` and returns its summary; goes on from finished parts.

    Raises:
        UserError: a source can not be read, has the name of another, or gave no document at all.
    """
    names = [source.name for source in config.sources]
    if len(set(names)) != len(names):
        raise UserError(f"two sources are named '{Counter(names).most_common(1)[0][0]}': give each its own name")
    parts = {
        source.name: parts_of(source)
        for source in config.sources
        if not isinstance(source, ShardsConfig) and not (folder / "shards" / source.name / INDEX).exists()
    }
    for name, own in parts.items():
        if (found := own[0].format) is not None:
            count = len({path for part in own for path in part.files})
            say(f"{name}: {count:,} file{'s' * (count > 1)}, {found.format} by {found.evidence}")
    tokenizer = _place_tokenizer(config, folder)
    for source in config.sources:
        if isinstance(source, ShardsConfig):
            _link(source, folder, tokenizer)
    _write(parts, folder, tokenizer, config.num_processes, say, progress)
    summary = _summary(config, folder)
    write_atomically(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    _refuse_empty(config, folder)
    return summary


def _write(
    parts: dict[str, list[Part]],
    folder: Path,
    tokenizer: Tokenizer,
    num_processes: int,
    say: Callable[[str], None],
    progress: Progress | None,
) -> None:
    """Writes those of the `parts` of each source that are not there, and finishes each source after its last."""

    def folder_of(part: Part) -> Path:
        return folder / "shards" / part.config.name

    def finished(part: Part) -> None:
        name = part.config.name
        left[name] -= 1
        if not left[name]:
            say(finish_source(parts[name], folder_of(part)))

    left = {name: len(own) for name, own in parts.items()}
    todo = []
    for part in (part for own in parts.values() for part in own):
        if part.is_finished(folder_of(part)):
            finished(part)
        else:
            todo.append(part)
    write_parts(todo, folder_of, tokenizer.path, num_processes, finished, progress)


def prepare_folder(
    config: PrepareConfig, folder: Path, say: Callable[[str], None], progress: Progress | None = None
) -> dict[str, Any]:
    """As `prepare`, for a folder that is no step's: it stays what it was prepared from, and one process is at it.

    Raises:
        UserError: the folder was prepared from something else, or another process is at it; and as `prepare`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", "prepare"):
        record = folder / RECORD
        values = (json.dumps(identity(config), indent=2) + "\n").encode()
        if record.exists() and record.read_bytes() != values:
            if (folder / "shards").exists():
                raise UserError(
                    f"{folder} was prepared from other sources or with other settings, or its sources changed since "
                    f"({record} has them): give another --out, or delete the folder"
                )
            (folder / TOKENIZER).unlink(missing_ok=True)  # all that an attempt left that wrote no shard
        write_atomically(record, values)
        return prepare(config, folder, say, progress)


def _refuse_empty(config: PrepareConfig, folder: Path) -> None:
    for source in config.sources:
        own = folder / "shards" / source.name
        if isinstance(source, FilesConfig) and len(ShardSource(own)) == 0:
            losses = Losses.load(own)
            reasons = losses.documents.most_common(3)
            counts = ", ".join(f"{count} {reason} (first {losses.places[reason]})" for reason, count in reasons)
            raise UserError(
                f"source '{source.name}' gave no document: {counts or 'there was nothing to read'}; see whether its "
                "--format is right, and whether --images names the folder of its pictures"
            )


def _place_tokenizer(config: PrepareConfig, folder: Path) -> Tokenizer:
    path = folder / TOKENIZER
    if config.tokenizer is not None:
        Tokenizer(config.tokenizer)  # is one, or said not to be
        copy_tokenizer(config.tokenizer, folder)
    elif not path.exists():
        train_on_heads(config, path)
    return Tokenizer(path)


def _linked(config: ShardsConfig) -> ShardSource:
    if not config.path.is_dir():
        raise UserError(
            f"source '{config.name}' is expected as a folder of shards at {config.path}, which is not there: "
            "prepare it there (mm1.data.shards.write_shards), or give its place as the source's path"
        )
    return ShardSource(config.path, config.name)


def _link(config: ShardsConfig, folder: Path, tokenizer: Tokenizer) -> None:
    """Points `folder`/shards/NAME at shards that stand elsewhere, if they have the ids of `tokenizer`."""
    source = _linked(config)
    if source.tokenizer_digest != tokenizer.digest:
        raise UserError(
            f"source '{config.name}' in {config.path} was prepared with another tokenizer "
            f"({source.tokenizer_digest[:12]}…) than prepare.tokenizer ({tokenizer.digest[:12]}…): give that one, or "
            "prepare the source again"
        )
    link = folder / "shards" / config.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.abspath(config.path))


def train_on_heads(config: PrepareConfig, path: Path) -> Tokenizer:
    """Trains the tokenizer on the head of every source and writes it to `path`."""
    return train_tokenizer(_texts(config), config.vocab_size, path)


def open_sources(folder: Path, names: Iterator[str] | list[str] | None = None) -> dict[str, ShardSource]:
    """The prepared sources of `folder`, or those named."""
    wanted = sorted(path.name for path in (folder / "shards").iterdir()) if names is None else list(names)
    for name in wanted:
        if not (folder / "shards" / name).is_dir():
            there = ", ".join(sorted(path.name for path in (folder / "shards").iterdir()))
            raise UserError(f"the mixture draws from '{name}', but only these are prepared: {there}")
    return {name: ShardSource(folder / "shards" / name, name) for name in wanted}


def _texts(config: PrepareConfig) -> Iterator[str]:
    for source in config.sources:
        assert not isinstance(source, ShardsConfig), "shards have a tokenizer already"
        for document in head_of(source, config.tokenizer_documents):
            yield from (part.text for part in document.segments if isinstance(part, Text))


def _summary(config: PrepareConfig, folder: Path) -> dict[str, Any]:
    """Counts by source and in all; documents + dropped = documents read. What linked sources lost is not ours.

    "dropped_images" are the pictures that pages went without, "first_dropped" where each reason was met first.
    """
    sources, losses, lengths = {}, Losses(), Counter[str]()
    for source_config in config.sources:
        source = ShardSource(folder / "shards" / source_config.name, source_config.name)
        if not isinstance(source_config, ShardsConfig):
            losses.merge(Losses.load(source.folder))
        sources[source.name] = {"documents": len(source), **_count(source, lengths)}
    totals = {key: sum(counts[key] for counts in sources.values()) for key in ("documents", "images", "tokens")}
    return {
        **totals,
        "lengths": dict(lengths),
        "dropped": dict(losses.documents),
        "dropped_images": dict(losses.images),
        "first_dropped": losses.places,
        "sources": sources,
    }


def _count(source: ShardSource, lengths: Counter[str]) -> dict[str, int]:
    """Images and tokens of a source, whose documents' lengths are added to `lengths`."""
    counts = {"images": 0, "tokens": 0}
    names = [*(f"<={limit}" for limit in _LENGTH_BINS), f">{_LENGTH_BINS[-1]}"]
    for start in range(0, len(source), _COUNTED_AT_ONCE):
        text, images = source.totals(np.arange(start, min(start + _COUNTED_AT_ONCE, len(source))))
        counts["images"] += int(images.sum())
        counts["tokens"] += int(text.sum())
        bins = np.bincount(np.searchsorted(_LENGTH_BINS, text), minlength=len(names))
        lengths.update({name: int(number) for name, number in zip(names, bins, strict=True) if number})
    return counts
