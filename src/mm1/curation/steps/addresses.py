"""Pages → the addresses of images that are worth looking at, each once, and for which set.

    parts/PART/shown-00000.parquet    occurrences.py's rows: which pages show which addresses
    parts/PART/refs-00000.parquet     addresses that a page asks for, once a page
    frequent/                         occurrences.py: addresses that too many pages show
    wanted/                           lookups.py: key of an address that is wanted → for which sets (occurrences.BITS)
    here-00000.parquet                wanted addresses in sources and pages, by rising keys
    web-00000.parquet                 wanted addresses to download, by bucket, all of a host in one
    tally.json

A page that may give a document asks for its images, and every page that is no copy for those that have a fit caption.
An address is wanted for a set that asks for it if it has none of the set's banned words and not too many pages show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mm1.curation.captions import CaptionRules, choose
from mm1.curation.config import CurateConfig
from mm1.curation.engine import Progress, Values, map_parts
from mm1.curation.extracted import read_extracted
from mm1.curation.groups import RunWriter, group_keys, run_files
from mm1.curation.images import url_reason
from mm1.curation.interleaved import InterleavedRules, page_reason
from mm1.curation.local import is_local
from mm1.curation.lookups import LookupWriter, key_of
from mm1.curation.obelics import ObelicsRules
from mm1.curation.page import Extracted
from mm1.curation.runner import Runner
from mm1.curation.samples import Picture, Sample
from mm1.curation.sources import bucket_of
from mm1.curation.steps import duplicates
from mm1.curation.steps.extract import PAGES
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.steps.occurrences import (
    BITS,
    CAPTIONS,
    DOCUMENTS,
    SETS,
    SHOWN,
    frequent,
    image_rules,
    write_frequent,
)
from mm1.curation.tally import Tally
from mm1.curation.text.language import identify

STEP, IMAGE = "addresses", "image"
WANTED, FREQUENT, HERE, WEB = "wanted", "frequent", "here", "web"
_ADDRESS = [pa.field("url", pa.string()), pa.field("source", pa.string())]
_REFS = pa.schema([*SHOWN, *_ADDRESS])
_WANTED = pa.schema([("key", pa.uint64()), ("bucket", pa.uint32()), *_ADDRESS])
_ROWS_AT_ONCE = 4096
_NAME = 500
"""Characters of an address by which a sample is called: data: URIs may be megabytes."""


def find_addresses(
    folder: Path, parts: Sequence[PartInputs], config: CurateConfig, runner: Runner, progress: Progress | None
) -> None:
    """Fills the folder of the step."""
    map_parts(partial(refer_part, config=config), parts, folder / "parts", runner, progress)
    folders = [folder / "parts" / part.name for part in parts]
    write_frequent(folder / FREQUENT, run_files(folders, "shown"), config, runner)
    files = run_files(folders, "refs")
    tally = Tally()
    with LookupWriter(folder / WANTED) as wanted:
        for number, found in enumerate(group_keys(files, runner, beside=("url", "source"), sums=SETS)):
            bits = _judge(found, folder, config, tally)
            wanted.add(found["key"].to_numpy()[bits > 0], bits[bits > 0])
            _write_wanted(folder, number, found.filter(bits > 0), config)
    tally.of(STEP, IMAGE)
    tally.save(folder)


def address_key(url: str, source: str) -> int:
    """The key of an image's address; a file of a source is another than one of the same name in another."""
    return key_of(f"{source}\n{url}" if is_local(url) else url)


def refer_part(part: PartInputs, folder: Path, config: CurateConfig) -> Values:
    """Fills the folder of a part."""
    pages = addresses = 0
    status = None if part.listed else np.load(part.folders["duplicates"] / duplicates.STATUS)
    captions = CaptionRules(text=config.text_worth_fetching)  # made once: pydantic checks what it makes
    with RunWriter(folder, "refs", _REFS) as refs, RunWriter(folder, "shown", SHOWN) as shown:
        wanted = None if status is None else status != duplicates.DUPLICATE
        for row in read_extracted(part.folders["extract"] / PAGES, wanted, only_images=True):
            pages += 1
            state = duplicates.RULED_OUT if status is None else int(status[row.number])
            for url, asked in asked_for(row.page, state, config.interleaved, captions).items():
                ref = {"key": address_key(url, part.source), "order": part.order(row.number), "weight": 1}
                shown.add({**ref, DOCUMENTS: int(state == duplicates.KEPT), CAPTIONS: 1})
                if any(asked.values()):
                    addresses += 1
                    sets = {name: int(asked[name]) for name in SETS}
                    refs.add({**ref, **sets, "url": url, "source": part.source}, len(url))
    return {"pages": pages, "addresses": addresses}


def asked_for(
    page: Extracted, state: int, documents: InterleavedRules | ObelicsRules, captions: CaptionRules
) -> dict[str, dict[str, bool]]:
    """The addresses that a page shows, each once, with the sets for which the page asks for it by their rules."""
    found: dict[str, dict[str, bool]] = {}
    interleaved = state == duplicates.KEPT and page_reason(page, documents) is None
    for image in page.images:
        asked = found.setdefault(image.url, {DOCUMENTS: interleaved, CAPTIONS: False})
        asked[CAPTIONS] = asked[CAPTIONS] or not isinstance(choose(image, captions, identify), str)
    return found


def _judge(found: pa.Table, folder: Path, config: CurateConfig, tally: Tally) -> NDArray[np.uint64]:
    """For which sets each of a table's addresses is wanted; all are counted."""
    rules, tables, judged = image_rules(config), frequent(folder / FREQUENT), []
    for row in (row for batch in found.to_batches(_ROWS_AT_ONCE) for row in batch.to_pylist()):
        wanted, reason, note = 0, "", f"asked for by {row['total']} pages"
        for name in SETS:
            pages = tables[name].get(row["key"])
            banned = url_reason(row["url"], rules[name])
            if row[name] and banned is None and pages is None:
                wanted |= BITS[name]
            elif row[name] and not reason:
                reason = banned or "frequent_url"
                note = note if banned else f"shown by {pages} pages"
        judged.append(wanted)
        tally.enter(STEP, IMAGE)
        address = row["url"][:_NAME]
        sample = partial(Sample, address, (Picture(address),), note)
        if wanted:
            tally.keep(STEP, IMAGE, address, sample)
        else:
            tally.drop(STEP, IMAGE, reason, address, sample)
    return np.array(judged, np.uint64)


def _write_wanted(folder: Path, number: int, found: pa.Table, config: CurateConfig) -> None:
    """The addresses of a table, apart by whether they need a download."""
    buckets = [bucket_of(url, config.download_buckets) for url in found["url"].to_pylist()]
    table = found.append_column("bucket", pa.array(buckets, pa.uint32())).select(_WANTED.names).cast(_WANTED)
    web = pc.greater(table["bucket"], 0)
    _write(folder / f"{HERE}-{number:05d}.parquet", table.filter(pc.invert(web)))
    by_host = table.filter(web).sort_by([("bucket", "ascending"), ("key", "ascending")])
    _write(folder / f"{WEB}-{number:05d}.parquet", by_host)


def _write(path: Path, table: pa.Table) -> None:
    if table.num_rows:
        pq.write_table(table, path, row_group_size=4096, compression="zstd")
