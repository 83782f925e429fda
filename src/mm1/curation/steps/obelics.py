"""The interleaved documents of the profile "obelics", which depend on each other.

    vocabulary/PART/     the words of each page that keeps the text rules, for those that are common
    common/words.txt     words of at least `min_common_documents` pages; empty for a set too small to have a vocabulary
    keys/PART/           of each document: of its address, its set of images, its paragraphs on their site
    latest/PART/         the latter two without the documents of an address that a later one has
    addresses/, images/, paragraphs/    lookups.py: key that several have → the last (order), and of paragraphs how many

With no dates of crawls, of two documents of one address or one set of images the later in the order of the sources is
taken for the latest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mm1.curation.engine import Values, map_parts
from mm1.curation.extracted import read_extracted
from mm1.curation.groups import KEYS, RunWriter, group_keys, run_files, write_lookup, write_sorted
from mm1.curation.images import LookUp
from mm1.curation.interleaved import Assembled, DroppedDocument, PlacedImage
from mm1.curation.local import is_local
from mm1.curation.lookups import Lookup, key_of
from mm1.curation.obelics import (
    Judges,
    ObelicsRules,
    address_key,
    assemble_obelics,
    image_set_key,
    site_keys,
    without_paragraphs,
)
from mm1.curation.obelics_measures import words_of
from mm1.curation.page import Extracted
from mm1.curation.runner import Runner
from mm1.curation.steps import duplicates
from mm1.curation.steps.extract import PAGES
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.steps.occurrences import DOCUMENTS
from mm1.curation.steps.set_images import SetImages
from mm1.curation.text.language import identify
from mm1.curation.text.perplexity import PerplexityModel

WORDS = "common/words.txt"
ADDRESSES, IMAGES, PARAGRAPHS = "addresses", "images", "paragraphs"
_KEYED = (ADDRESSES, IMAGES, PARAGRAPHS)
_WORDS = KEYS.append(pa.field("word", pa.string()))
_OF_ADDRESS = KEYS.append(pa.field("address", pa.uint64()))
"""With the key of the document's address, 0 where it has none."""
_LONGEST_WORD = 100
_SMALL_SET = 10_000
"""Pages of which a vocabulary is asked for: in fewer, a rare subject's own words are in too few of them."""


@dataclass(frozen=True)
class Inputs:
    """Where earlier steps left what this one needs."""

    found: Path
    pictures: Path
    rules: ObelicsRules
    quality: Path | None
    """A folder of `mm1 curate train-quality`, for the perplexity."""

    def rows(self, part: PartInputs) -> Iterator[tuple[int, str, Extracted]]:
        """Number, address and content of the pages that keep the text rules and are no copies."""
        status = np.load(part.folders["duplicates"] / duplicates.STATUS)
        for row in read_extracted(part.folders["extract"] / PAGES, wanted=status == duplicates.KEPT):
            yield row.number, row.url, row.page

    def look_up(self, part: PartInputs) -> LookUp:
        """The images as the pages of a part see them."""
        return SetImages(self.found, self.pictures, DOCUMENTS).of(part.source)

    def judges(self, step: Path) -> Judges:
        """Whom the rules ask."""
        perplexity = None if self.quality is None else _model(self.quality).perplexity
        words = (step / WORDS).read_text().split("\n")
        return Judges(identify, perplexity, frozenset(words) if words != [""] else None)


@cache
def _model(folder: Path) -> PerplexityModel:
    return PerplexityModel(folder)


def ask_the_set(folder: Path, parts: Sequence[PartInputs], inputs: Inputs, runner: Runner) -> None:
    """Fills the folder with what `SetRules` needs."""
    counts = map_parts(partial(read_part, inputs=inputs), parts, folder / "vocabulary", runner)
    _write_common(folder, parts, inputs.rules, sum(values["pages"] for values in counts), runner)
    map_parts(partial(key_part, inputs=inputs, step=folder), parts, folder / "keys", runner)
    _write_last(folder, ADDRESSES, folder / "keys", parts, runner)
    map_parts(partial(latest_part, step=folder), parts, folder / "latest", runner)
    for name in (IMAGES, PARAGRAPHS):
        _write_last(folder, name, folder / "latest", parts, runner)


def _write_last(folder: Path, name: str, keyed: Path, parts: Sequence[PartInputs], runner: Runner) -> None:
    """Of the keys that several documents of the parts in `keyed` have, the last of these."""
    files = run_files((keyed / part.name for part in parts), name)
    write_lookup(folder / name, files, runner, "last", at_least=2)


def read_part(part: PartInputs, folder: Path, inputs: Inputs) -> Values:
    """Writes down the words of each page, each once a page."""
    pages = 0
    with RunWriter(folder, "words", _WORDS) as runs:
        for number, _, page in inputs.rows(part):
            pages += 1
            for word in set(words_of(page.text)):
                if len(word) <= _LONGEST_WORD:
                    row = {"key": key_of(word), "order": part.order(number), "weight": 1, "word": word}
                    runs.add(row, len(word))
    return {"pages": pages}


def _write_common(folder: Path, parts: Sequence[PartInputs], rules: ObelicsRules, pages: int, runner: Runner) -> None:
    asked = parts if pages >= _SMALL_SET else ()
    files = run_files((folder / "vocabulary" / part.name for part in asked), "words")
    (folder / WORDS).parent.mkdir(exist_ok=True)
    found = group_keys(files, runner, at_least=rules.min_common_documents, beside=("word",))
    words = sorted(word for table in found for word in table["word"].to_pylist())
    (folder / WORDS).write_text("\n".join(words))


def key_part(part: PartInputs, folder: Path, inputs: Inputs, step: Path) -> Values:
    """Writes down the keys of a part's documents, before what the set says."""
    look_up, judges = inputs.look_up(part), inputs.judges(step)
    count = 0
    with (
        RunWriter(folder, ADDRESSES, KEYS) as addresses,
        RunWriter(folder, IMAGES, _OF_ADDRESS) as images,
        RunWriter(folder, PARAGRAPHS, _OF_ADDRESS) as paragraphs,
    ):
        for number, url, page in inputs.rows(part):
            try:
                document = assemble_obelics(page, look_up, inputs.rules, judges)
            except DroppedDocument:
                continue
            count += 1
            address = _of_source(address_key(url), url, part) if url else 0
            own = {"order": part.order(number), "weight": 1, "address": address}
            if url:
                addresses.add({**own, "key": address})
            images.add({"key": _images_key(document, part), **own})
            for key in site_keys(document.segments, url).tolist():
                paragraphs.add({"key": key, **own})
    return {"out": count}


def latest_part(part: PartInputs, folder: Path, step: Path) -> Values:
    """The keys of a part's documents but those of a later one's address: a page is no repetition of its old self."""
    last = Lookup(step / ADDRESSES)
    for path in [path for name in (IMAGES, PARAGRAPHS) for path in run_files([step / "keys" / part.name], name)]:
        table = pq.read_table(path, partitioning=None)
        latest, there = last.find(table["address"].to_numpy())
        table = table.filter(pa.array(~there | (latest == table["order"].to_numpy()))).select(KEYS.names)
        if table.num_rows:
            write_sorted(folder / path.name, table, KEYS)
    return {}


def _of_source(key: int, url: str, part: PartInputs) -> int:
    """The address of a page, which in two folders is one only by chance."""
    return key_of(f"{part.source}\n{key}") if is_local(url) else key


def _images_key(document: Assembled, part: PartInputs) -> int:
    urls = [segment.url for segment in document.segments if isinstance(segment, PlacedImage)]
    key = image_set_key(document)
    return key_of(f"{part.source}\n{key}") if any(is_local(url) for url in urls) else key


class SetRules:
    """The documents of a part, as `assemble` of interleaved.py gives them."""

    def __init__(self, step: Path, part: PartInputs, inputs: Inputs) -> None:
        self._part, self._rules = part, inputs.rules
        self._look_up, self._judges = inputs.look_up(part), inputs.judges(step)
        self._tables = {name: Lookup(step / name) for name in _KEYED}

    def assemble(self, number: int, url: str, page: Extracted) -> Assembled:
        """The document of a page.

        Raises:
            DroppedDocument: as `assemble_obelics` and `without_paragraphs` say; `repeated_address`; `repeated_images`.
        """
        document = assemble_obelics(page, self._look_up, self._rules, self._judges)
        order = self._part.order(number)
        if url and self._is_earlier(ADDRESSES, _of_source(address_key(url), url, self._part), order):
            raise self._dropped("repeated_address", document)
        if self._is_earlier(IMAGES, _images_key(document, self._part), order):
            raise self._dropped("repeated_images", document)
        keys = site_keys(document.segments, url)
        _, repeated = self._tables[PARAGRAPHS].find(keys)
        return without_paragraphs(document, ~repeated, self._rules)

    def _is_earlier(self, name: str, key: int, order: int) -> bool:
        last = self._tables[name].get(key)
        return last is not None and last != order

    @staticmethod
    def _dropped(reason: str, document: Assembled) -> DroppedDocument:
        images = sum(isinstance(segment, PlacedImage) for segment in document.segments)
        dropped = document.dropped_images.copy()
        dropped["document_dropped"] += images
        return DroppedDocument(reason, dropped, document.dropped_paragraphs)
