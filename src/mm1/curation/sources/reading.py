"""Reading a part, whatever its kind: pages, the pictures of a WARC, the pictures that a list names.

    for page in read_pages(part): …       # Page | Dropped: together they are all that the part holds, each once
    for url, found in read_images(part): …      # bytes, or the reason why their owner refuses them
    for found in read_listed(part): …     # Listed | Dropped

One page is in memory at a time. Lists of pages are page_lists.py's. Knows nothing of what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm1.curation.fetch import FetchConfig
from mm1.curation.page import Dropped, ImageRef, Page
from mm1.curation.sources.folder import read_folder
from mm1.curation.sources.page_lists import address
from mm1.curation.sources.part import Part, SourcesConfig
from mm1.curation.sources.rows import RowSlice, rows
from mm1.curation.sources.warc import read_warc_images, read_warc_pages

_ADDRESSES = ("url", "URL", "uri", "source_url", "warc_url")
_ENCODINGS = ("encoding", "charset", "content_charset")
_ALTS = ("alt", "alt_text")


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture of a list of addresses, and its name in the set."""

    id: str
    image: ImageRef


def read_pages(
    part: Part, config: SourcesConfig | None = None, fetch: FetchConfig | None = None
) -> Iterator[Page | Dropped]:
    """What the part holds: pages, and a Dropped for each thing that is none.

    Args:
        part: Of any kind but image_urls and page_urls.
        config: Only its limits count here; None is the default.
        fetch: Which headers in WARCs refuse a page (opt_out, tdm_reservation), as when it is downloaded; None is the
            default.
    """
    limit = (config or SourcesConfig()).max_page_bytes
    if part.kind == "warc":
        return read_warc_pages(Path(part.path), part.source, limit, fetch or FetchConfig())
    if part.kind == "folder":
        return read_folder(part.root, part.files, part.source, limit)
    assert part.kind in ("jsonl", "parquet"), f"{part.name} is a list: it has no pages"
    return _read_rows(part, limit)


def read_images(part: Part, fetch: FetchConfig | None = None) -> Iterator[tuple[str, bytes | str]]:
    """The pictures among the records of a WARC by their addresses: bytes, or the reason why a header refuses them
    (`fetch` as in `read_pages`). Other kinds hold none.
    """
    return read_warc_images(Path(part.path), fetch or FetchConfig()) if part.kind == "warc" else iter(())


def read_listed(part: Part) -> Iterator[Listed | Dropped]:
    """The pictures that a list of them names: bad_url, url_too_long, and what its rows are dropped for."""
    assert part.kind == "image_urls", part.kind
    columns = tuple(dict.fromkeys((part.column, part.caption, *_ALTS))) if part.layout != "lines" else (part.column,)
    for place, row in _rows(part, columns):
        if isinstance(row, Dropped):
            yield row
        elif isinstance(url := address(row[part.column]), Dropped):
            yield url
        else:
            alt = next((text for name in _ALTS if (text := _text(row.get(name)))), "")
            caption = _text(row.get(part.caption)) if part.caption not in _ALTS else ""
            yield Listed(f"{part.source}/{place}", ImageRef(url, alt=alt, caption=caption))


def _rows(part: Part, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any] | Dropped]]:
    return rows(RowSlice(Path(part.path), part.layout, columns, part.start, part.stop))


def _read_rows(part: Part, limit: int) -> Iterator[Page | Dropped]:
    """A table's pages; text that came as text is UTF-8 whatever its own markup says."""
    for place, row in _rows(part, (part.column, *_ADDRESSES, *_ENCODINGS)):
        if isinstance(row, Dropped):
            yield row
            continue
        html = row[part.column]
        encoding = next((text for name in _ENCODINGS if (text := _text(row[name]))), "")
        if isinstance(html, str):
            html, encoding = html.encode("utf-8", "surrogatepass"), "utf-8"
        if not isinstance(html, bytes) or not html:
            yield Dropped("no_html")
        elif len(html) > limit:
            yield Dropped("too_large")
        else:
            url = next((url for name in _ADDRESSES if isinstance(url := address(row[name]), str)), "")
            yield Page(f"{part.source}/{place}", url, html, encoding)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
