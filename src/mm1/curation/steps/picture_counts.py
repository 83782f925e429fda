"""What came of the images: each address counted once, and bytes that are shown too often.

    counts/UNIT/tally.json, stored-….parquet     of a file of the store: its outcomes, the MD5s of its images
    md5s/                                        lookups.py: key of an address → key of its image's MD5
    shown/PART/md5-00000.parquet                 occurrences.py's rows: which pages show which MD5s
    copies/                                      occurrences.py: MD5s that too many pages show
    judged/UNIT/tally.json                       the addresses of those
    files.json                                   the files of the store by their numbers

An address that the records of several WARCs have is in several files of the store; it counts where the index has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mm1.curation.config import CurateConfig
from mm1.curation.engine import Values, map_parts
from mm1.curation.groups import KEYS, RunWriter, group_keys, run_files, write_sorted
from mm1.curation.image_store import ImageFile, place_of
from mm1.curation.images import StoredImage
from mm1.curation.lookups import Lookup, LookupWriter, md5_key
from mm1.curation.runner import Runner
from mm1.curation.samples import Picture, Sample
from mm1.curation.sources import Part
from mm1.curation.steps import addresses
from mm1.curation.steps.addresses import IMAGE
from mm1.curation.steps.occurrences import BITS, SETS, SHOWN, frequent, sets_of, write_frequent
from mm1.curation.tally import Tally
from mm1.files import write_atomically

STEP, COPIES_STEP = "images", "image copies"
STORE, FILES, INDEX, COPIES = "images.arrow", "files.json", "index", "copies"
COUNTS, STORED, MD5S, SHOWN_BY, JUDGED = "counts", "stored", "md5s", "shown", "judged"
_STORED = KEYS.append(pa.field("md5", pa.uint64()))


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


def count_pictures(
    folder: Path, units: Sequence[Unit], parts: Sequence[Part], wanted: Path, config: CurateConfig, runner: Runner
) -> None:
    """Adds the counts to the folder of the step; `parts` are those whose pages show the images."""
    map_parts(partial(count_unit, step=folder), units, folder / COUNTS, runner)
    with LookupWriter(folder / MD5S) as table:
        stored = run_files((folder / COUNTS / unit.name for unit in units), STORED)
        for found in group_keys(stored, runner, beside=("md5",)):
            table.add(found["key"].to_numpy(), found["md5"].to_numpy())
    map_parts(partial(show_part, step=folder, wanted=wanted), parts, folder / SHOWN_BY, runner)
    shown = run_files((folder / SHOWN_BY / part.name for part in parts), "md5")
    write_frequent(folder / COPIES, shown, config, runner)
    map_parts(partial(judge_unit, step=folder, wanted=wanted), units, folder / JUDGED, runner)
    tally = Tally()
    for step in (STEP, COPIES_STEP):
        tally.of(step, IMAGE)
    tally.save(folder)


def count_unit(unit: Unit, folder: Path, step: Path) -> Values:
    """What came of a unit's addresses, and the MD5s of those with an image."""
    tally = Tally()
    index = Lookup(step / INDEX)
    file = ImageFile(step / unit.kind / unit.name / STORE)
    with RunWriter(folder, STORED, _STORED) as stored:
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
            stored.add({"key": key, "order": order, "weight": 1, "md5": md5_key(image.picture.md5)})
            tally.keep(STEP, IMAGE, name, sample)
            tally.statistics.size("pixels an image", image.picture.width * image.picture.height)
            tally.statistics.size("bytes an image", len(image.data))
            tally.statistics.word("format", image.picture.format)
    tally.save(folder)
    counts = tally.of(STEP, IMAGE)
    return {"in": counts.entered, "out": counts.kept}


def show_part(part: Part, folder: Path, step: Path, wanted: Path) -> Values:
    """Which MD5s the pages of a part show, each once a page, under addresses that are wanted for the set."""
    md5s, sets = Lookup(step / MD5S), Lookup(wanted / addresses.WANTED)
    tables = [SHOWN.empty_table()]
    for path in run_files([wanted / "parts" / part.name], "shown"):
        table = pq.read_table(path, partitioning=None)
        keys = table["key"].to_numpy()
        (found, there), (bits, _) = md5s.find(keys), sets.find(keys)
        columns = {"key": found, "order": table["order"], "weight": table["weight"]}
        columns |= {name: table[name].to_numpy() * (bits & BITS[name] > 0) for name in SETS}
        tables.append(pa.table(columns).cast(SHOWN).filter(pa.array(there)))
    pages = pa.concat_tables(tables).group_by(["key", "order"], use_threads=False)
    found = pages.aggregate([(name, "max") for name in ("weight", *SETS)]).rename_columns(SHOWN.names)
    write_sorted(folder / "md5-00000.parquet", found.sort_by([("key", "ascending"), ("order", "ascending")]), SHOWN)
    return {"out": found.num_rows}


def judge_unit(unit: Unit, folder: Path, step: Path, wanted: Path) -> Values:
    """Of a unit's addresses with an image, those whose bytes are too frequent for each set that wants them."""
    tally, copies, sets = Tally(), frequent(step / COPIES), Lookup(wanted / addresses.WANTED)
    file = ImageFile(step / unit.kind / unit.name / STORE)
    for path in run_files([step / COUNTS / unit.name], STORED):
        for key, order, _, md5 in zip(*pq.read_table(path, partitioning=None).to_pydict().values(), strict=True):
            tally.enter(COPIES_STEP, IMAGE)
            pages = [copies[name].get(md5) for name in sets_of(sets.get(key) or 0)]
            if None in pages:
                tally.of(COPIES_STEP, IMAGE).keep()
                continue
            _, row = divmod(order, place_of(1, 0))
            sample = partial(_show, key, file.name(row)[1], f"shown by {pages[0]} pages")
            tally.drop(COPIES_STEP, IMAGE, "frequent_bytes", f"{key:016x}", sample)
    tally.save(folder)
    counts = tally.of(COPIES_STEP, IMAGE)
    return {"in": counts.entered, "out": counts.kept}


def _show(key: int, url: str, note: str = "") -> Sample:
    return Sample(url, (Picture(url, key=key),), note)


def save_files(folder: Path, units: Sequence[Unit]) -> None:
    """Writes down which files the store has, by their numbers."""
    names = [f"{unit.kind}/{unit.name}/{STORE}" for unit in units]
    write_atomically(folder / FILES, (json.dumps(names) + "\n").encode())


def stored_files(folder: Path) -> list[Path]:
    """The files of the store, by their numbers."""
    return [folder / name for name in json.loads((folder / FILES).read_text())]
