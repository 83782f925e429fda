"""The first stage: sources of documents become a tokenizer and, for each source, a folder of shards.

    prepare/tokenizer.json
    prepare/shards/NAME/…    dropped.json is written last and marks a finished source
    prepare/summary.json     {"documents", "images", "tokens", "lengths", "dropped", "sources": {name: …}}

Sources are written in parallel processes, one a source; a source that is finished is not written again. Sources that
were prepared elsewhere are linked, not copied. The tokenizer is trained on the head of every source before that, or is
one that is there already. Knows nothing of mixtures: what is drawn from the shards, and how often, is each training
stage's plan.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from mm1.config import Config, UserError, to_json
from mm1.data.embedded_source import EmbeddedConfig, EmbeddedSource
from mm1.data.encode import DocumentEncoder
from mm1.data.image import BadImage, read_image
from mm1.data.shards import INDEX, ShardSource, write_shards
from mm1.data.sources import Documents
from mm1.data.synthetic.source import SyntheticConfig, SyntheticSource
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.files import write_atomically
from mm1.types import Document, Text

TOKENIZER = "tokenizer.json"
DROPPED = "dropped.json"
"""Counts of what a source lost, by reason; written last: where it stands, the source is finished."""
_LENGTH_BINS = (16, 32, 64, 128, 256, 512, 1024)
_COUNTED_AT_ONCE = 1 << 20
"""Documents whose lengths are in memory together."""


class ShardsConfig(Config):
    """A folder of shards that was prepared elsewhere, with the tokenizer that `PrepareConfig.tokenizer` names."""

    kind: Literal["shards"] = "shards"
    name: str
    path: Path


WrittenConfig: TypeAlias = SyntheticConfig | EmbeddedConfig
"""Sources whose documents are made here."""


class PrepareConfig(Config):
    """What is prepared."""

    sources: tuple[Annotated[SyntheticConfig | EmbeddedConfig | ShardsConfig, Field(discriminator="kind")], ...]
    tokenizer: Path | None = None
    """A tokenizer.json to use; None trains one."""
    vocab_size: int = 1024
    """Of the tokenizer that is trained."""
    tokenizer_documents: int = 400
    """Documents of each source, from its head, on which it is trained."""
    num_processes: int = 2

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
            entry["path"] = _file_digest(_linked(source).folder / INDEX)  # which holds the checksum of every shard
    return values


def prepare(config: PrepareConfig, folder: Path, say: Callable[[str], None]) -> None:
    """Fills `folder`; goes on from finished sources."""
    names = [source.name for source in config.sources]
    if len(set(names)) != len(names):
        raise UserError(f"two sources are named '{Counter(names).most_common(1)[0][0]}': give each its own name")
    tokenizer = _place_tokenizer(config, folder)
    todo: list[WrittenConfig] = []
    for source in config.sources:
        if isinstance(source, ShardsConfig):
            _link(source, folder, tokenizer)
        elif not (folder / "shards" / source.name / DROPPED).exists():
            todo.append(source)
    if config.num_processes > 1 and len(todo) > 1:
        # Spawned, not forked: the parent may have threads of its own by now.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(config.num_processes, mp_context=context) as pool:
            for future in as_completed([pool.submit(_write_source, source, folder) for source in todo]):
                say(future.result())
    else:
        for source in todo:
            say(_write_source(source, folder))
    write_atomically(folder / "summary.json", (json.dumps(_summary(config, folder), indent=2) + "\n").encode())


def _place_tokenizer(config: PrepareConfig, folder: Path) -> Tokenizer:
    path = folder / TOKENIZER
    if config.tokenizer is not None:
        given = Tokenizer(config.tokenizer)
        write_atomically(path, given.path.read_bytes())
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


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def build_source(config: WrittenConfig) -> Documents:
    """The documents that a source's config describes."""
    return SyntheticSource(config) if isinstance(config, SyntheticConfig) else EmbeddedSource(config)


def _write_source(config: WrittenConfig, folder: Path) -> str:
    """Writes one source with its counts; returns a line that tells of it."""
    # Lengths count an image apart, so the number of tokens an image will take does not matter here.
    encoder = DocumentEncoder(Tokenizer(folder / TOKENIZER), num_image_tokens=1, image_size=16)
    source, dropped = build_source(config), Counter[str]()
    documents = (document for document in _documents(source) if _is_good(document, dropped))
    shards = write_shards(documents, folder / "shards" / config.name, config.name, encoder)
    write_atomically(shards.folder / DROPPED, json.dumps(dropped).encode())
    lost = f", {sum(dropped.values())} dropped" if dropped else ""
    return f"{config.name}: {len(shards):,} documents{lost}"


def _documents(source: Documents) -> Iterator[Document]:
    return (source.document(index) for index in range(len(source)))


def _is_good(document: Document, dropped: Counter[str]) -> bool:
    """Whether there is something to learn and every image can be decoded; otherwise counts why not."""
    try:
        for image in document.images:
            read_image(image.data, 16)
    except BadImage as error:
        dropped[error.reason] += 1
        return False
    if not document.segments:
        dropped["empty document"] += 1
        return False
    return True


def _texts(config: PrepareConfig) -> Iterator[str]:
    for source_config in config.sources:
        assert not isinstance(source_config, ShardsConfig), "shards have a tokenizer already"
        source = build_source(source_config)
        for index in range(min(len(source), config.tokenizer_documents)):
            yield from (part.text for part in source.document(index).segments if isinstance(part, Text))


def _summary(config: PrepareConfig, folder: Path) -> dict[str, Any]:
    """Counts by source and in all; documents + dropped = documents read. What linked sources lost is not ours."""
    sources, dropped, lengths = {}, Counter[str](), Counter[str]()
    for source_config in config.sources:
        source = ShardSource(folder / "shards" / source_config.name, source_config.name)
        if not isinstance(source_config, ShardsConfig):
            dropped.update(json.loads((source.folder / DROPPED).read_text()))
        sources[source.name] = {"documents": len(source), **_count(source, lengths)}
    totals = {key: sum(counts[key] for counts in sources.values()) for key in ("documents", "images", "tokens")}
    return {**totals, "lengths": dict(lengths), "dropped": dict(dropped), "sources": sources}


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
