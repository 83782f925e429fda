"""Pages → the addresses of images that are worth looking at, each once, with the number of pages that show it.

    parts/PART/refs-00000.parquet     groups.py's keys, an address each, once a page
    wanted/                           lookups.py: key of an address that is wanted → pages that show it
    frequent/                         likewise of those that too many pages show
    here-00000.parquet                wanted addresses in sources and pages, by rising keys
    web-00000.parquet                 wanted addresses to download, by bucket, all of a host in one
    tally.json

Counted are the pages that are no copies of others: those that keep the text rules, and of the rest those with an image
that has a fit caption. An address is wanted if it has none of the banned words, and not too many pages show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mm1.curation.captions import CaptionRules, choose
from mm1.curation.config import CurateConfig
from mm1.curation.engine import Progress, Runner, Values, map_parts
from mm1.curation.extracted import read_extracted
from mm1.curation.groups import KEYS, RunWriter, group_keys
from mm1.curation.images import url_reason
from mm1.curation.interleaved import page_reason
from mm1.curation.lookups import LookupWriter, key_of
from mm1.curation.page import Extracted, ImageRef
from mm1.curation.samples import Picture, Sample
from mm1.curation.sources import host_of
from mm1.curation.steps import duplicates
from mm1.curation.steps.extract import PAGES
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.tally import Tally
from mm1.curation.text.language import identify

STEP, IMAGE = "addresses", "image"
WANTED, FREQUENT, HERE, WEB = "wanted", "frequent", "here", "web"
_REFS = KEYS.append(pa.field("url", pa.string())).append(pa.field("source", pa.string()))
_WANTED = pa.schema([("key", pa.uint64()), ("bucket", pa.uint32()), ("total", pa.uint64()), *list(_REFS)[3:]])
_NAME = 500
"""Characters of an address by which a sample is called: data: URIs may be megabytes."""


def find_addresses(
    folder: Path, parts: Sequence[PartInputs], config: CurateConfig, runner: Runner, progress: Progress | None
) -> None:
    """Fills the folder of the step."""
    map_parts(partial(refer_part, config=config), parts, folder / "parts", runner, progress)
    files = [path for part in parts for path in sorted((folder / "parts" / part.name).glob("refs-*.parquet"))]
    tally = Tally()
    with LookupWriter(folder / WANTED) as wanted, LookupWriter(folder / FREQUENT) as frequent:
        for number, found in enumerate(group_keys(files, runner, beside=("url", "source"))):
            reasons = np.array(_reasons(found, config, tally))
            for table, chosen in ((wanted, reasons == ""), (frequent, reasons == "frequent_url")):
                table.add(found["key"].to_numpy()[chosen], found["total"].to_numpy()[chosen])
            _write_wanted(folder, number, found.filter(reasons == ""), config)
    tally.of(STEP, IMAGE)
    tally.save(folder)


def address_key(url: str, source: str) -> int:
    """The key of an image's address; a file of a source is another than one of the same name in another."""
    return key_of(f"{source}\n{url}" if url.startswith("local:") else url)


def refer_part(part: PartInputs, folder: Path, config: CurateConfig) -> Values:
    """Fills the folder of a part."""
    pages = addresses = 0
    status = None if part.listed else np.load(part.folders["duplicates"] / duplicates.STATUS)
    with RunWriter(folder, "refs", _REFS) as runs:
        for row in read_extracted(part.folders["extract"] / PAGES):
            pages += 1
            state = duplicates.RULED_OUT if status is None else int(status[row.number])
            for url in dict.fromkeys(image.url for image in worth_fetching(row.page, state, config)):
                addresses += 1
                values = {"key": address_key(url, part.source), "order": part.order(row.number), "weight": 1}
                runs.add({**values, "url": url, "source": part.source}, len(url))
    return {"pages": pages, "addresses": addresses}


def worth_fetching(page: Extracted, state: int, config: CurateConfig) -> Iterator[ImageRef]:
    """The images of a page that may come into a set."""
    if state == duplicates.DUPLICATE:
        return
    interleaved = state == duplicates.KEPT and page_reason(page, config.interleaved) is None
    rules = CaptionRules(text=config.worth_fetching)
    for image in page.images:
        if interleaved or not isinstance(choose(image, rules, identify), str):
            yield image


def _reasons(found: pa.Table, config: CurateConfig, tally: Tally) -> list[str]:
    """Why each of a table's addresses is not wanted, "" where it is; all are counted."""
    limit = max(config.interleaved.images.max_occurrences, config.captions.images.max_occurrences)
    reasons = []
    for url, total in zip(found["url"].to_pylist(), found["total"].to_pylist(), strict=True):
        reason = _banned(url, config) or ("frequent_url" if total > limit else "")
        tally.enter(STEP, IMAGE)
        name = url[:_NAME]
        sample = partial(Sample, name, (Picture(name),), f"on {total} pages")
        if reason:
            tally.drop(STEP, IMAGE, reason, name, sample)
        else:
            tally.keep(STEP, IMAGE, name, sample)
        reasons.append(reason)
    return reasons


def _write_wanted(folder: Path, number: int, found: pa.Table, config: CurateConfig) -> None:
    """The addresses of a table, apart by whether they need a download."""
    buckets = [_bucket(url, config.download_buckets) for url in found["url"].to_pylist()]
    table = found.append_column("bucket", pa.array(buckets, pa.uint32())).select(_WANTED.names).cast(_WANTED)
    web = pc.greater(table["bucket"], 0)
    _write(folder / f"{HERE}-{number:05d}.parquet", table.filter(pc.invert(web)))
    by_host = table.filter(web).sort_by([("bucket", "ascending"), ("key", "ascending")])
    _write(folder / f"{WEB}-{number:05d}.parquet", by_host)


def _write(path: Path, table: pa.Table) -> None:
    if table.num_rows:
        pq.write_table(table, path, row_group_size=4096, compression="zstd")


def _banned(url: str, config: CurateConfig) -> str | None:
    reasons = [url_reason(url, rules) for rules in (config.interleaved.images, config.captions.images)]
    return None if None in reasons else reasons[0]


def _bucket(url: str, buckets: int) -> int:
    """0 for what needs no download, else one of `buckets` from 1, the same for all addresses of a host."""
    if not url.lower().startswith(("http:", "https:")):
        return 0
    return 1 + key_of(host_of(url)) % buckets
