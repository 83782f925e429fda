"""Texts that keep the rules → those of them that are there once: the text set, and what becomes of every page.

    exact/                    lookups.py: the key of a text that is there more than once → where first
    near/                     lookups.py: the number of a text → it is like another that stays
    parts/PART/status.npy     for each page one of KEPT, RULED_OUT, DUPLICATE
    parts/PART/text.parquet   the documents of the text set

Exact copies go first, all but the first; then of texts that are alike all but the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mm1.curation.config import TextConfig
from mm1.curation.documents import DocumentWriter
from mm1.curation.engine import Progress, Values, map_parts
from mm1.curation.extracted import read_extracted
from mm1.curation.groups import run_files, write_lookup
from mm1.curation.lookups import Lookup, LookupWriter
from mm1.curation.page import Dropped
from mm1.curation.runner import Runner
from mm1.curation.samples import excerpt
from mm1.curation.steps import texts
from mm1.curation.steps.extract import PAGE, PAGES
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.tally import Tally
from mm1.curation.text.key_files import near_duplicates

STEP = "duplicates"
STATUS, TEXT = "status.npy", "text.parquet"
KEPT, RULED_OUT, DUPLICATE = 0, 1, 2
_BYTES_A_TEXT = 64
"""Of memory while candidates among texts are looked for."""


def drop_duplicates(
    folder: Path, parts: Sequence[PartInputs], config: TextConfig, runner: Runner, progress: Progress | None
) -> None:
    """Fills the folder of the step."""
    _find_exact(folder / "exact", parts, runner)
    _find_near(folder / "near", folder / "exact", parts, config, runner)
    firsts = np.cumsum([0, *(_count(part) for part in parts)])
    work = partial(
        write_part, tables=folder, firsts={part.name: int(n) for part, n in zip(parts, firsts, strict=False)}
    )
    map_parts(work, parts, folder / "parts", runner, progress)


def _find_exact(folder: Path, parts: Sequence[PartInputs], runner: Runner) -> None:
    files = run_files((part.folders["texts"] for part in parts), texts.EXACT)
    write_lookup(folder, files, runner, "first", at_least=2)


def _find_near(folder: Path, exact: Path, parts: Sequence[PartInputs], config: TextConfig, runner: Runner) -> None:
    copies: list[NDArray[np.int64]] = []
    first = 0
    lookup = Lookup(exact)
    for part in parts:
        copies.append(first + np.flatnonzero(_is_copy(part, lookup)))
        first += _count(part)
    with LookupWriter(folder) as table:
        if config.near is not None and first:
            skipped = np.concatenate(copies)
            slices = -(-first * _BYTES_A_TEXT // runner.memory)
            paths = [part.folders["texts"] / texts.NEAR for part in parts]
            found = near_duplicates(paths, config.near, skipped, slices).astype(np.uint64)
            table.add(found, np.ones_like(found))


def _count(part: PartInputs) -> int:
    """Texts of a part that keep the rules."""
    return int(np.count_nonzero(np.load(part.folders["texts"] / texts.KEPT)))


def _is_copy(part: PartInputs, exact: Lookup) -> NDArray[np.bool_]:
    """Of each text of a part that keeps the rules, whether an equal one is before it."""
    kept = np.load(part.folders["texts"] / texts.KEPT)
    rows = np.flatnonzero(kept)
    copies = np.zeros(len(rows), bool)
    for path in run_files([part.folders["texts"]], texts.EXACT):
        table = pq.read_table(path, columns=["key", "order"], partitioning=None)
        orders = table["order"].to_numpy()
        firsts, there = exact.find(table["key"].to_numpy())
        places = kept[orders - np.uint64(part.order(0))].astype(np.int64) - 1
        copies[places] = there & (firsts != orders)
    return copies


def write_part(part: PartInputs, folder: Path, tables: Path, firsts: dict[str, int]) -> Values:
    """Fills the folder of a part."""
    tally = Tally()
    kept = np.load(part.folders["texts"] / texts.KEPT)
    exact = _is_copy(part, Lookup(tables / "exact"))
    numbers = np.arange(firsts[part.name], firsts[part.name] + len(exact), dtype=np.uint64)
    _, near = Lookup(tables / "near").find(numbers)
    status = np.full(len(kept), RULED_OUT, np.uint8)
    with DocumentWriter(folder / TEXT) as writer:
        for row in read_extracted(part.folders["extract"] / PAGES, wanted=kept > 0):
            place = int(kept[row.number]) - 1
            tally.enter(STEP, PAGE)
            reason = "exact_copy" if exact[place] else "near_copy" if near[place] else None
            text = row.page.text
            sample = partial(excerpt, row.url or row.id, [text])
            if reason is not None:
                status[row.number] = DUPLICATE
                tally.drop(STEP, PAGE, reason, row.id, sample)
                continue
            try:
                writer.write(row.id, row.url, [text])
            except Dropped as drop:
                tally.drop(STEP, PAGE, drop.reason, row.id, sample)
                continue
            status[row.number] = KEPT
            tally.keep(STEP, PAGE, row.id, sample)
            tally.statistics.size("characters a text", len(text))
    np.save(folder / STATUS, status)
    counts = tally.of(STEP, PAGE)
    tally.save(folder)
    return {"in": counts.entered, "out": counts.kept}
