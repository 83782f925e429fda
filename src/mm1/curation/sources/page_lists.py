r"""Lists of pages: read once and spread by host, then each bucket of hosts downloaded by one process.

    spread(parts[0], folder)                              # folder/00000.jsonl, … one file a bucket, one line a row
    for page in read_downloaded(parts[3], folder, store.download): …   # Page | Dropped: together all of its bucket

    ["https://a.example/1", ""]\n["", "bad_url"]\n        the rows of a bucket: an address, or why there is none

All pages of a host are in one bucket, so that limits per host hold within the one process that has it. The time is that
of one pass over the list and one over each bucket, however many buckets there are. Knows nothing of the network.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from mm1.curation.fetch.config import MAX_URL
from mm1.curation.fetch.failed import Failed
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.urls import parse_url
from mm1.curation.page import Dropped, Page
from mm1.curation.sources.part import Part, SourcesConfig
from mm1.curation.sources.rows import RowSlice, rows

_ANY_PORT = range(1 << 16)
_HELD = 32 << 20
"""Bytes of lines that are held, of all buckets together, before they are written."""


Download: TypeAlias = Callable[[Iterable[str]], Iterable[Fetched]]
"""Each address once in, each once out, in any order."""


def spread(part: Part, folder: Path) -> dict[str, int]:
    """Writes the whole list that `part`, any bucket of it, is of into one file a bucket; returns how many rows it has.

    Which bucket a row is in depends on its host, or its place where it holds no address, and on the number of buckets.
    """
    assert part.kind == "page_urls", part.kind
    held: defaultdict[int, list[bytes]] = defaultdict(list)
    size = count = 0
    for place, row in rows(RowSlice(Path(part.path), part.layout, (part.column,))):
        url = row if isinstance(row, Dropped) else address(row[part.column])
        line = json.dumps(["", url.reason] if isinstance(url, Dropped) else [url, ""]).encode() + b"\n"
        held[_bucket(place if isinstance(url, Dropped) else host_of(url), part.stop)].append(line)
        size += len(line)
        count += 1
        if size >= _HELD:
            _append(folder, held)
            size = 0
    _append(folder, held)
    return {"in": count}


def _append(folder: Path, held: defaultdict[int, list[bytes]]) -> None:
    """Opens one file at a time: there may be more buckets than files that a process may have open."""
    for bucket, lines in sorted(held.items()):
        with _file(folder, bucket).open("ab") as file:
            file.writelines(lines)
    held.clear()


def read_downloaded(
    part: Part, spread: Path, download: Download, config: SourcesConfig | None = None
) -> Iterator[Page | Dropped]:
    """The pages of a bucket, and a Dropped for each row that gives none.

    Args:
        part: A bucket of a list of pages.
        spread: The folder that `spread` filled.
        download: Fetches them.
        config: Only its limits count here; None is the default.
    """
    limit = (config or SourcesConfig()).max_page_bytes
    refused: list[Dropped] = []
    for page in download(_addresses(_file(spread, part.start), refused)):
        if page.data is None:
            yield Dropped(page.reason)
        elif len(page.data) > limit:
            yield Dropped("too_large")
        else:
            name = hashlib.sha256(page.url.encode()).hexdigest()[:16]
            yield Page(f"{part.source}/{name}", page.url, page.data, page.charset)
    yield from refused


def _addresses(path: Path, refused: list[Dropped]) -> Iterator[str]:
    """The addresses of a bucket, each once; the rows that hold none, or one again, go to `refused`."""
    if not path.exists():  # no host fell into it
        return
    seen: set[bytes] = set()
    with path.open("rb") as lines:
        for line in lines:
            url, reason = json.loads(line)
            digest = hashlib.sha256(url.encode()).digest()[:12]
            if reason or digest in seen:
                refused.append(Dropped(reason or "repeated_url"))
            else:
                seen.add(digest)
                yield url


def _file(folder: Path, bucket: int) -> Path:
    return folder / f"{bucket:05d}.jsonl"


def _bucket(key: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % max(buckets, 1)


def host_of(url: str) -> str:
    """The name of an address's host, by which its manners count: without port, spelled as the downloader spells it."""
    name = (urlsplit(url).hostname or "").removesuffix(".")
    if name.isascii() and ":" not in name:
        return name
    try:
        return parse_url(url, _ANY_PORT).raw_host or name
    except Failed:  # no name of a host, which the downloader refuses
        return name


def address(value: object) -> str | Dropped:
    """An http or https address that can be taken apart and written as UTF-8; `bad_url` or `url_too_long` if not."""
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > MAX_URL:
        return Dropped("url_too_long")
    try:
        text.encode()
        parts = urlsplit(text)
        parts.port  # noqa: B018  # raises where it is no number
    except ValueError:
        return Dropped("bad_url")
    # A line's end within it is that of two addresses, which urlsplit would make one.
    sound = parts.scheme in ("http", "https") and parts.hostname and not any(end in text for end in "\r\n")
    return text if sound else Dropped("bad_url")
