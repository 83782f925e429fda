"""Reading a part, whatever its kind: pages, the pictures of a WARC, the pictures that a list names.

    for page in read_pages(part): …       # Page | Dropped: together they are all that the part holds, each once
    for url, data in read_images(part): …
    for found in read_listed(part): …     # Listed | Dropped

One page is in memory at a time. Knows nothing of what is done with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from mm1.curation.page import Dropped, ImageRef, Page
from mm1.curation.sources.folder import read_folder
from mm1.curation.sources.part import Part, SourcesConfig
from mm1.curation.sources.rows import RowSlice, rows
from mm1.curation.sources.warc import read_warc_images, read_warc_pages

_ADDRESSES = ("url", "URL", "uri", "source_url", "warc_url")
_ENCODINGS = ("encoding", "charset", "content_charset")
_ALTS = ("alt", "alt_text")


class Downloaded(Protocol):
    """What a download gives; `data` is None where there is none, and `reason` says why."""

    @property
    def url(self) -> str: ...
    @property
    def data(self) -> bytes | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def charset(self) -> str: ...


Download: TypeAlias = Callable[[Iterable[str]], Iterable[Downloaded]]
"""Each address once in, each once out, in any order."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture of a list of addresses, and its name in the set."""

    id: str
    image: ImageRef


def read_pages(
    part: Part, config: SourcesConfig | None = None, download: Download | None = None
) -> Iterator[Page | Dropped]:
    """What the part holds: pages, and a Dropped for each thing that is none.

    Args:
        part: Of any kind but image_urls.
        config: Only its limits count here; None is the default.
        download: Fetches the pages of a list of addresses; needed for that kind alone.
    """
    limit = (config or SourcesConfig()).max_page_bytes
    if part.kind == "warc":
        return read_warc_pages(Path(part.path), part.source, limit)
    if part.kind == "folder":
        return read_folder(part.root, part.files, part.source, limit)
    if part.kind in ("jsonl", "parquet"):
        return _read_rows(part, limit)
    assert part.kind == "page_urls", f"{part.name} lists pictures: it has no pages"
    assert download is not None, "a list of pages is downloaded"
    return _read_downloaded(part, limit, download)


def read_images(part: Part) -> Iterator[tuple[str, bytes]]:
    """The pictures among the records of a WARC, as (address, bytes); other kinds hold none."""
    return read_warc_images(Path(part.path)) if part.kind == "warc" else iter(())


def read_listed(part: Part) -> Iterator[Listed | Dropped]:
    """The pictures that a list of them names: bad_url, and what its rows are dropped for."""
    assert part.kind == "image_urls", part.kind
    columns = tuple(dict.fromkeys((part.column, part.caption, *_ALTS))) if part.layout != "lines" else (part.column,)
    for place, row in _rows(part, columns):
        if isinstance(row, Dropped):
            yield row
        elif (url := _address(row[part.column])) is None:
            yield Dropped("bad_url")
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
            url = next((url for name in _ADDRESSES if (url := _address(row[name]))), "")
            yield Page(f"{part.source}/{place}", url, html, encoding)


def _read_downloaded(part: Part, limit: int, download: Download) -> Iterator[Page | Dropped]:
    refused: list[Dropped] = []
    for page in download(_addresses(part, refused)):
        if page.data is None:
            yield Dropped(page.reason)
        elif len(page.data) > limit:
            yield Dropped("too_large")
        else:
            name = hashlib.sha256(page.url.encode()).hexdigest()[:16]
            yield Page(f"{part.source}/{name}", page.url, page.data, page.charset)
    yield from refused


def _addresses(part: Part, refused: list[Dropped]) -> Iterator[str]:
    """The addresses of the hosts of this bucket, each once; the rows of this bucket that hold none go to `refused`."""
    seen: set[bytes] = set()
    for place, row in rows(RowSlice(Path(part.path), part.layout, (part.column,))):
        url = None if isinstance(row, Dropped) else _address(row[part.column])
        if _bucket(place if url is None else urlsplit(url).netloc.lower(), part.stop) != part.start:
            continue
        if url is None:
            refused.append(row if isinstance(row, Dropped) else Dropped("bad_url"))
            continue
        digest = hashlib.sha256(url.encode()).digest()[:12]
        if digest in seen:
            refused.append(Dropped("repeated_url"))
        else:
            seen.add(digest)
            yield url


def _bucket(key: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8]) % max(buckets, 1)


def _address(value: object) -> str | None:
    """An http or https address that can be taken apart and written as UTF-8; None for anything else."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        text.encode()
        parts = urlsplit(text)
        parts.port  # noqa: B018  # raises where it is no number
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.hostname else None


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
