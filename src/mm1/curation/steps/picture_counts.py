"""What came of the images: each address counted once, and bytes that are shown too often.

    counts/UNIT/tally.json, md5-….parquet    of a file of the store
    copies/                                  lookups.py: key of an MD5 → pages that show it, if too many for a set
    files.json                               the files of the store by their numbers
    tally.json                               of what was shown too often

An address that the records of several WARCs have is in several files of the store; it counts where the index has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from mm1.curation.config import CurateConfig
from mm1.curation.engine import Runner, Values, map_parts
from mm1.curation.groups import KEYS, RunWriter, group_keys
from mm1.curation.image_store import ImageFile, place_of
from mm1.curation.images import StoredImage
from mm1.curation.lookups import Lookup, LookupWriter
from mm1.curation.samples import Picture, Sample
from mm1.curation.steps import addresses
from mm1.curation.steps.addresses import IMAGE
from mm1.curation.tally import Tally
from mm1.files import write_atomically

STEP, COPIES_STEP = "images", "image copies"
STORE, FILES, INDEX, COUNTS, COPIES = "images.arrow", "files.json", "index", "counts", "copies"


@dataclass(frozen=True)
class Unit:
    """Addresses that are looked at together."""

    kind: str
    """Of the folder that holds its folder."""
    name: str
    number: int
    """Of the file among those of the store."""
    low: int = 0
    """Of the keys, or the bucket."""
    high: int = 0


def count_pictures(folder: Path, units: Sequence[Unit], wanted: Path, config: CurateConfig, runner: Runner) -> None:
    """Adds the counts to the folder of the step."""
    map_parts(partial(count_unit, step=folder, wanted=wanted), units, folder / COUNTS, runner)
    paths = [path for unit in units for path in sorted((folder / COUNTS / unit.name).glob("md5-*.parquet"))]
    limits = config.interleaved.images.max_occurrences, config.captions.images.max_occurrences
    files = stored_files(folder)
    tally = Tally()
    counts = tally.of(COPIES_STEP, IMAGE)
    with LookupWriter(folder / COPIES) as table:
        for found in group_keys(paths, runner):
            totals, rows = found["total"].to_numpy(), found["rows"].to_numpy()
            table.add(found["key"].to_numpy()[totals > min(limits)], totals[totals > min(limits)])
            frequent = totals > max(limits)
            counts.enter(int(rows.sum()))
            counts.keep(int(rows[~frequent].sum()))
            counts.drop("frequent_bytes", int(rows[frequent].sum()))
            for first, total in _pairs(found.filter(frequent)):
                _offer(tally, files, first, total)
    tally.save(folder)


def count_unit(unit: Unit, folder: Path, step: Path, wanted: Path) -> Values:
    """Fills the folder of a unit's counts."""
    tally = Tally()
    index, totals = Lookup(step / INDEX), Lookup(wanted / addresses.WANTED)
    file = ImageFile(step / unit.kind / unit.name / STORE)
    with RunWriter(folder, "md5", KEYS) as md5s:
        for row, (key, url, reason) in enumerate(file.outcomes()):
            order = place_of(unit.number, row)
            if index.get(key) != order:
                continue
            tally.enter(STEP, IMAGE)
            name, sample = f"{key:016x}", partial(_show, key, url)
            if reason is not None:
                tally.drop(STEP, IMAGE, reason, name, sample)
                continue
            image = file.get(row)
            assert isinstance(image, StoredImage)
            md5s.add({"key": md5_key(image.picture.md5), "order": order, "weight": totals.get(key)})
            tally.keep(STEP, IMAGE, name, sample)
            tally.statistics.size("pixels an image", image.picture.width * image.picture.height)
            tally.statistics.size("bytes an image", len(image.data))
            tally.statistics.word("format", image.picture.format)
    tally.save(folder)
    counts = tally.of(STEP, IMAGE)
    return {"in": counts.entered, "out": counts.kept}


def md5_key(md5: bytes) -> int:
    """An MD5 as a key."""
    return int.from_bytes(md5[:8], "big")


def _pairs(found: pa.Table) -> Iterator[tuple[int, int]]:
    yield from zip(found["first"].to_pylist(), found["total"].to_pylist(), strict=True)


def _offer(tally: Tally, files: Sequence[Path], first: int, total: int) -> None:
    """An image that is shown too often, as a sample."""
    number, row = divmod(first, place_of(1, 0))

    def make() -> Sample:
        key, url = ImageFile(files[number]).name(row)
        return _show(key, url, f"on {total} pages")

    tally.samples.offer(COPIES_STEP, "frequent_bytes", str(first), make)


def _show(key: int, url: str, note: str = "") -> Sample:
    return Sample(url, (Picture(url, key=key),), note)


def save_files(folder: Path, units: Sequence[Unit]) -> None:
    """Writes down which files the store has, by their numbers."""
    names = [f"{unit.kind}/{unit.name}/{STORE}" for unit in units]
    write_atomically(folder / FILES, (json.dumps(names) + "\n").encode())


def stored_files(folder: Path) -> list[Path]:
    """The files of the store, by their numbers."""
    return [folder / name for name in json.loads((folder / FILES).read_text())]
