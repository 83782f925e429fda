"""The first stage: sources of documents become a tokenizer and, for each source, a folder of shards.

    prepare/tokenizer.json
    prepare/shards/NAME/…    dropped.json is written last and marks a finished source
    prepare/summary.json     {"documents", "images", "tokens", "lengths", "dropped", "sources": {name: …}}

Sources are written in parallel processes, one a source; a source that is finished is not written again. The
tokenizer is trained on the head of every source before that. Knows nothing of mixtures: what is drawn from the shards,
and how often, is each training stage's plan.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mm1.config import Config, UserError
from mm1.data.embedded_source import EmbeddedConfig, EmbeddedSource
from mm1.data.encode import DocumentEncoder
from mm1.data.image import BadImage, decode_image
from mm1.data.shards import ShardSource, write_shards
from mm1.data.sources import Documents
from mm1.data.synthetic.source import SyntheticConfig, SyntheticSource
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.files import write_atomically
from mm1.types import Document, Text

TOKENIZER = "tokenizer.json"
DROPPED = "dropped.json"
"""Counts of what a source lost, by reason; written last: where it stands, the source is finished."""
_LENGTH_BINS = (16, 32, 64, 128, 256, 512, 1024)


class PrepareConfig(Config):
    """What is prepared."""

    sources: tuple[Annotated[SyntheticConfig | EmbeddedConfig, Field(discriminator="kind")], ...]
    vocab_size: int = 1024
    tokenizer_documents: int = 400
    """Documents of each source, from its head, on which the tokenizer is trained."""
    num_processes: int = 2


def prepare(config: PrepareConfig, folder: Path, say: Callable[[str], None]) -> None:
    """Fills `folder`; goes on from finished sources."""
    names = [source.name for source in config.sources]
    if len(set(names)) != len(names):
        raise UserError(f"two sources are named '{Counter(names).most_common(1)[0][0]}': give each its own name")
    tokenizer = folder / TOKENIZER
    if not tokenizer.exists():
        train_on_heads(config, tokenizer)
    todo = [source for source in config.sources if not (folder / "shards" / source.name / DROPPED).exists()]
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
    return {name: ShardSource(folder / "shards" / name) for name in wanted}


def build_source(config: SyntheticConfig | EmbeddedConfig) -> Documents:
    """The documents that a source's config describes."""
    return SyntheticSource(config) if isinstance(config, SyntheticConfig) else EmbeddedSource(config)


def _write_source(config: SyntheticConfig | EmbeddedConfig, folder: Path) -> str:
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
            decode_image(image.data, 16)
    except BadImage as error:
        dropped[error.reason] += 1
        return False
    if not document.segments:
        dropped["empty document"] += 1
        return False
    return True


def _texts(config: PrepareConfig) -> Iterator[str]:
    for source_config in config.sources:
        source = build_source(source_config)
        for index in range(min(len(source), config.tokenizer_documents)):
            yield from (part.text for part in source.document(index).segments if isinstance(part, Text))


def _summary(config: PrepareConfig, folder: Path) -> dict[str, Any]:
    """Counts by source and in all; documents + dropped = documents read."""
    sources, dropped, lengths = {}, Counter[str](), Counter[str]()
    for source_config in config.sources:
        source = ShardSource(folder / "shards" / source_config.name)
        text, images = source.totals(np.arange(len(source)))
        dropped.update(json.loads((source.folder / DROPPED).read_text()))
        for length in text:
            lengths[next((f"<={limit}" for limit in _LENGTH_BINS if length <= limit), f">{_LENGTH_BINS[-1]}")] += 1
        sources[source.name] = {"documents": len(source), "images": int(images.sum()), "tokens": int(text.sum())}
    totals = {key: sum(counts[key] for counts in sources.values()) for key in ("documents", "images", "tokens")}
    return {**totals, "lengths": dict(lengths), "dropped": dict(dropped), "sources": sources}
