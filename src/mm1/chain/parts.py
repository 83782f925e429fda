"""A source's documents in parts: what one process reads, checks and writes at a time.

    shards/NAME/part-00000/shard-00000.arrow, …, lengths-….bin, lost.json, index.json     last: the part is finished
    shards/NAME/lengths-….bin, lost.json, index.json                                      last: the source is finished

A part is a range of the documents that a source makes, a group of input files, or a share of a large one. Which parts
there are does not depend on how many processes write them, so neither does the result. A part that was not finished is
begun anew. Knows nothing of processes, nor of what is prepared beside a source.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from mm1.data.embedded_source import EmbeddedConfig, EmbeddedSource
from mm1.data.encode import DocumentEncoder
from mm1.data.formats.catalog import FORMATS, Recognised
from mm1.data.formats.files import GROUP_BYTES, FilesConfig, Found, find, group
from mm1.data.formats.reading import Drop, Item
from mm1.data.image import BadImage, read_image
from mm1.data.shard_index import INDEX, join_shards
from mm1.data.shards import ShardWriter
from mm1.data.sources import Documents
from mm1.data.synthetic.source import SyntheticConfig, SyntheticSource
from mm1.data.tokenizer import Tokenizer
from mm1.files import write_atomically
from mm1.types import Document, Image

LOST = "lost.json"
PART_DOCUMENTS = 8192
"""Documents of a part, where they are made."""

CHECKED_AT = 16
"""Pixels to which a picture is decoded to see that it can be: a large JPEG then at an eighth of its size."""

HEAD_FILES = 8
"""Files of a source from which a tokenizer's texts are taken."""

WrittenConfig: TypeAlias = SyntheticConfig | EmbeddedConfig | FilesConfig
"""Sources whose documents are written here."""

Told: TypeAlias = Callable[[int, int, int], None]
"""Called with documents written, documents dropped, bytes of pictures and text written, since it was called last."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of a source."""

    config: WrittenConfig
    number: int
    documents: range = range(0)
    """Of a source that makes its documents."""
    files: tuple[Path, ...] = ()
    format: Recognised | None = None
    """Of the files."""
    share: range | None = None
    """Of a single file, where it is large and can be shared."""

    @property
    def name(self) -> str:
        return f"part-{self.number:05d}"

    def is_finished(self, folder: Path) -> bool:
        """Whether it stands in the source's `folder`."""
        return (folder / self.name / INDEX).exists()

    def items(self) -> Iterator[Item]:
        """The documents, and what was dropped."""
        if isinstance(self.config, FilesConfig):
            assert self.format is not None
            options = replace(self.config.options, share=self.share)
            for path in self.files:
                yield from FORMATS[self.format.format].read(path, options)
        else:
            source = build_source(self.config)
            yield from (source.document(index) for index in self.documents)


def build_source(config: SyntheticConfig | EmbeddedConfig) -> Documents:
    """The documents that a source's config describes."""
    return SyntheticSource(config) if isinstance(config, SyntheticConfig) else EmbeddedSource(config)


def parts_of(config: WrittenConfig) -> list[Part]:
    """All parts of a source, in order.

    Raises:
        UserError: files that are not there, or in no known format.
    """
    if isinstance(config, FilesConfig):
        found = find(config)
        return [
            Part(config, number, files=files, format=found.format, share=share)
            for number, (files, share) in enumerate(_work_of(found))
        ]
    total = len(build_source(config))
    starts = range(0, max(total, 1), PART_DOCUMENTS)
    return [Part(config, n, range(start, min(start + PART_DOCUMENTS, total))) for n, start in enumerate(starts)]


def _work_of(found: Found) -> Iterator[tuple[tuple[Path, ...], range | None]]:
    """Small files together, and a large one in shares if its format can be read so."""
    shares = FORMATS[found.format.format].shares
    for files in group(found.files):
        if len(files) == 1 and shares is not None:
            yield from ((files, share) for share in shares(files[0], GROUP_BYTES))
        else:
            yield files, None


def head_of(config: WrittenConfig, count: int) -> Iterator[Document]:
    """About `count` documents: the first of a source that makes them; of files, the first of several of them."""
    if isinstance(config, FilesConfig):
        found = find(config)
        step = -(-len(found.files) // HEAD_FILES)
        chosen = found.files[::step]
        for path in chosen:
            items = FORMATS[found.format.format].read(path, config.options)
            documents = (item for item in items if isinstance(item, Document))
            yield from islice(documents, -(-count // len(chosen)))
    else:
        source = build_source(config)
        yield from (source.document(index) for index in range(min(len(source), count)))


@dataclass(frozen=True, slots=True)
class Losses:
    """What was dropped, by reason, and where each reason was met first."""

    documents: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    """Pictures that pages went without."""
    places: dict[str, str] = field(default_factory=dict)

    def add(self, drop: Drop) -> None:
        (self.documents if drop.what == "document" else self.images)[drop.reason] += drop.count
        self.places.setdefault(drop.reason, drop.where)

    def merge(self, other: Losses) -> None:
        self.documents.update(other.documents)
        self.images.update(other.images)
        self.places.update({reason: where for reason, where in other.places.items() if reason not in self.places})

    def save(self, folder: Path) -> None:
        values = {"documents": self.documents, "images": self.images, "places": self.places}
        write_atomically(folder / LOST, (json.dumps(values, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Losses:
        values: dict[str, Any] = json.loads((folder / LOST).read_text())
        return cls(Counter(values["documents"]), Counter(values["images"]), values["places"])


def write_part(part: Part, folder: Path, tokenizer: Path, tell: Told) -> None:
    """Writes a part into `folder`/PART; what an earlier, unfinished attempt left there is removed.

    Raises:
        OSError: no room, no permission.
        UserError: a file that has not what its format needs.
    """
    target = folder / part.name
    shutil.rmtree(target, ignore_errors=True)
    # Lengths count an image apart, so the number of tokens an image will take does not matter here.
    encoder = DocumentEncoder(Tokenizer(tokenizer), num_image_tokens=1, image_size=16)
    losses = Losses()
    with ShardWriter(target, part.config.name, encoder) as writer:
        for item in checked(part.items(), pages=part.format is not None and FORMATS[part.format.format].pages):
            if isinstance(item, Drop):
                losses.add(item)
                tell(0, item.count * (item.what == "document"), 0)
            else:
                writer.add(item)
                tell(1, 0, sum(len(part.data if isinstance(part, Image) else part.text) for part in item.segments))
        losses.save(target)


def checked(items: Iterable[Item], pages: bool) -> Iterator[Item]:
    """The items without documents that are empty or have a picture that can not be decoded; what fell out is a Drop.

    Where the documents are `pages`, they go on without such a picture, if another is left.
    """
    for item in items:
        if isinstance(item, Drop):
            yield item
            continue
        where = item.id
        bad = {place: reason for place, part in enumerate(item.segments) if (reason := _fault(part)) is not None}
        if not item.segments:
            yield Drop("empty document", where)
        elif bad and not pages:
            yield Drop(next(iter(bad.values())), where)
        elif bad:
            yield from (Drop(reason, where, what="image") for reason in bad.values())
            rest = tuple(part for place, part in enumerate(item.segments) if place not in bad)
            left = Document(item.id, rest, item.source)
            yield left if left.images else Drop("no image left", where)
        else:
            yield item


def _fault(part: object) -> str | None:
    """Why a picture can not be decoded."""
    if isinstance(part, Image):
        try:
            read_image(part.data, CHECKED_AT)
        except BadImage as error:
            return error.reason
    return None


def finish_source(parts: list[Part], folder: Path) -> str:
    """Joins the finished parts of one source in `folder`; returns a line that tells of it."""
    losses = Losses()
    for part in parts:
        losses.merge(Losses.load(folder / part.name))
    losses.save(folder)
    join_shards(folder, parts[0].config.name, [part.name for part in parts])
    documents = json.loads((folder / INDEX).read_text())["documents"]
    lost = f", {losses.documents.total():,} dropped" if losses.documents else ""
    return f"{parts[0].config.name}: {documents:,} documents{lost}"
