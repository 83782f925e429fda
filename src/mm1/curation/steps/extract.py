"""Sources → extracted pages, a part at a time.

    PART/pages.parquet     as extracted.py has them
    PART/tally.json

Pictures that a list names come as pages of one picture and no text, so that they go the way of all others. A page whose
own tags refuse its use for training is dropped, wherever it comes from: what it says does not depend on who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from mm1.curation.config import CurateConfig
from mm1.curation.downloads import Downloads, by_host
from mm1.curation.engine import Values
from mm1.curation.extracted import ExtractedWriter
from mm1.curation.fetch import FetchConfig, Fetched
from mm1.curation.fetch.opt_out import page_refusal
from mm1.curation.html import extract
from mm1.curation.page import Dropped, Extracted, Page, Paragraph
from mm1.curation.samples import Picture, Sample, excerpt
from mm1.curation.sources import Listed, Part, read_downloaded, read_listed, read_pages
from mm1.curation.tally import Tally
from mm1.curation.text.characters import without_surrogates

PAGES = "pages.parquet"
STEP = "extract"
PAGE, LISTED = "page", "listed image"


def extract_part(part: Part, folder: Path, config: CurateConfig, downloads: Path, lists: Mapping[str, Path]) -> Values:
    """Fills the folder of a part; `lists` has the folder of each list of pages, spread by host, by its source."""
    tally = Tally()
    unit = LISTED if part.kind == "image_urls" else PAGE
    with ExtractedWriter(folder / PAGES) as writer:
        for number, item in enumerate(_items(part, config, downloads, lists)):
            tally.enter(STEP, unit)
            where = f"{part.name}#{number}"
            try:
                if isinstance(item, Dropped):
                    raise item
                where = item.id
                url, page = _content(item, config.fetch)
            except Dropped as drop:
                tally.drop(STEP, unit, drop.reason, where, partial(Sample, where, ()))
                continue
            writer.add(item.id, url, page)
            tally.keep(STEP, unit, item.id, partial(show, url or item.id, page))
            _measure(tally, page)
    tally.save(folder)
    counts = tally.of(STEP, unit)
    return {"in": counts.entered, **counts.to_json()}


def _items(
    part: Part, config: CurateConfig, downloads: Path, lists: Mapping[str, Path]
) -> Iterator[Page | Listed | Dropped]:
    if part.kind == "image_urls":
        yield from read_listed(part)
    elif part.kind == "page_urls":
        download = partial(_download, folder=downloads / "pages", config=config)
        yield from read_downloaded(part, lists[part.source], download, config.sources)
    else:
        yield from read_pages(part, config.sources, config.fetch)


def _download(urls: Iterable[str], folder: Path, config: CurateConfig) -> Iterator[Fetched]:
    fetch = config.fetch.replace(accept="html")
    with Downloads(folder, fetch, by_host(config.download_buckets)) as store:
        yield from store.download(urls)


def _content(item: Page | Listed, fetch: FetchConfig) -> tuple[str, Extracted]:
    if isinstance(item, Listed):
        alt, caption = map(without_surrogates, (item.image.alt, item.image.caption))  # JSON may hold some
        image = replace(item.image, alt=alt, caption=caption)
        return "", Extracted("", "", (image,))
    if refused := page_refusal(item.html, fetch):
        raise Dropped(refused)
    return item.url, extract(item.html, item.url, item.encoding)


def show(url: str, page: Extracted) -> Sample:
    """A page as a sample."""
    parts = (block.text if isinstance(block, Paragraph) else Picture(block.url, block.alt) for block in page.blocks)
    return excerpt(url, parts)


def _measure(tally: Tally, page: Extracted) -> None:
    tally.statistics.size("characters a page", len(page.text))
    tally.statistics.number("images a page", len(page.images))
    tally.statistics.word("declared language", page.language or "(none)")
