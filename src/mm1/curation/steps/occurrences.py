"""How often an image occurs, and over which pages: for interleaved documents and for caption pairs apart.

    documents/, captions/     lookups.py: key of an address or of an MD5 → pages that show it, where they are too many

An occurrence is a page together with an image: a page that shows an address, or the same bytes under several
addresses, any number of times counts once. Pages whose text was kept once already (duplicates.py) count for nothing. Of
the others

- for documents count those that the text step and deduplication kept: the candidates of the interleaved set, which is
  "the dataset" in which A.1 counts. Galleries beside them make no image of a document more frequent;
- for caption pairs count all, whether or not the page says something of the image: what every page shows is no picture
  that one of them tells of. Pages that break the text rules are compared with nothing, so each of their copies counts.

An address that is ruled out for a set is not fetched for it, and counts for no MD5 of that set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from mm1.curation.config import CurateConfig
from mm1.curation.groups import KEYS, group_keys
from mm1.curation.images import ImageRules
from mm1.curation.lookups import Lookup, LookupWriter
from mm1.curation.runner import Runner

DOCUMENTS, CAPTIONS = SETS = "documents", "captions"
BITS = {DOCUMENTS: 1, CAPTIONS: 2}
"""Sets as one number."""
SHOWN = KEYS.append(pa.field(DOCUMENTS, pa.uint32())).append(pa.field(CAPTIONS, pa.uint32()))
"""A row a page and image: 1 where the page counts for that set."""


def image_rules(config: CurateConfig) -> dict[str, ImageRules]:
    """Of each set."""
    return {DOCUMENTS: config.interleaved.images, CAPTIONS: config.captions.images}


def sets_of(bits: int) -> Iterator[str]:
    """The sets in a number."""
    yield from (name for name in SETS if bits & BITS[name])


def write_frequent(folder: Path, files: Sequence[Path], config: CurateConfig, runner: Runner) -> None:
    """Fills the folder with what too many pages show, by files of the schema SHOWN."""
    rules = image_rules(config)
    with ExitStack() as stack:
        tables = {name: stack.enter_context(LookupWriter(folder / name)) for name in SETS}
        for found in group_keys(files, runner, sums=SETS):
            for name, table in tables.items():
                totals = found[name].to_numpy()
                many = totals > rules[name].max_occurrences
                table.add(found["key"].to_numpy()[many], totals[many])


def frequent(folder: Path) -> Mapping[str, Lookup]:
    """What `write_frequent` wrote, by set."""
    return {name: Lookup(folder / name) for name in SETS}
