"""What all steps tell and left, as a person finds it: the sets, the funnel, the report.

OUT/text/PART.parquet, OUT/interleaved/…, OUT/captions/…     as in the steps' folders (hard links, or copies)
OUT/funnel.json
OUT/report.html
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from mm1.curation.funnel import Funnel
from mm1.curation.images import StoredImage
from mm1.curation.report import write_report
from mm1.curation.steps import addresses, captions, clip, duplicates, extract, interleaved, picture_counts, texts
from mm1.curation.steps.set_images import open_store
from mm1.curation.tally import TALLY, Tally, total
from mm1.files import write_atomically

FUNNEL, REPORT = "funnel.json", "report.html"
TEXT, INTERLEAVED, CAPTIONS = SETS = "text", "interleaved", "captions"
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system says that has no hard links, or no more of them."""
ORDER = (
    (extract.STEP, extract.PAGE),
    (extract.STEP, extract.LISTED),
    (texts.STEP, extract.PAGE),
    (duplicates.STEP, extract.PAGE),
    (addresses.STEP, addresses.IMAGE),
    (picture_counts.STEP, addresses.IMAGE),
    (picture_counts.COPIES_STEP, addresses.IMAGE),
    (interleaved.STEP, extract.PAGE),
    (interleaved.STEP, interleaved.PLACE),
    (captions.STEP, captions.UNIT),
    (captions.COPIES_STEP, captions.UNIT),
    (clip.STEP, captions.UNIT),
)
"""In which the funnel has the steps; those that were not asked for are left out."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of it."""

    funnel: Funnel
    sets: dict[str, int]
    """Documents of each set, by its name: OUT/NAME holds it."""
    facts: dict[str, str]
    """What else the report says on top, by what it is."""


def finish(out: Path, folders: Mapping[str, Path], parts: Sequence[str], facts: Mapping[str, str]) -> Finished:
    """Writes the sets, the funnel and the report.

    Args:
        out: the folder of the sets.
        folders: of the steps, by their names.
        parts: the names of all parts, in order.
        facts: what else the report says on top.

    Raises:
        Unbalanced: something was lost between two steps.
    """
    pairs = "clip" if "clip" in folders else "captions"
    places = {
        TEXT: [folders["duplicates"] / "parts" / part / duplicates.TEXT for part in parts],
        INTERLEAVED: [folders["interleaved"] / "parts" / part / interleaved.INTERLEAVED for part in parts],
        CAPTIONS: [folders[pairs] / "parts" / part / captions.CAPTIONS for part in parts],
    }
    sets = {name: _place(out / name, files) for name, files in places.items()}
    tally = total(_tallies(folders.values()))
    funnel = funnel_of(tally)
    write_atomically(out / FUNNEL, (json.dumps(funnel.to_json(), indent=2) + "\n").encode())
    store = open_store(folders["images"])

    def look_up(key: int) -> bytes | None:
        image = store.get(key)
        return image.data if isinstance(image, StoredImage) else None

    write_report(funnel, tally.samples.drawn(look_up), tally.statistics, out / REPORT, sets, facts)
    return Finished(funnel=funnel, sets=sets, facts=dict(facts))


def _tallies(folders: Iterable[Path]) -> list[Path]:
    return [path.parent for folder in folders for path in sorted(folder.rglob(TALLY))]


def funnel_of(tally: Tally) -> Funnel:
    """The steps in their order."""
    assert set(tally.counts) <= set(ORDER), set(tally.counts) - set(ORDER)
    funnel = Funnel()
    for step, unit in ORDER:
        if (step, unit) in tally.counts:
            funnel = funnel.then(step, unit, tally.counts[step, unit])
    return funnel


def _place(folder: Path, files: Sequence[Path]) -> int:
    """Fills the folder of a set with the files that have documents, at once; returns how many there are in all."""
    fresh, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    documents = 0
    for path in files:
        rows = pq.read_metadata(path).num_rows if path.exists() else 0
        if rows:
            _link(path, fresh / f"{path.parent.name}.parquet")
            documents += rows
    if folder.exists():
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
    return documents


def _link(path: Path, place: Path) -> None:
    """The file in another place too, in the room of one where the file system can do that."""
    try:
        os.link(path, place)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(path, place)
