r"""Lists of pages: read once and spread by host, then the hosts' buckets downloaded, each by one process.

    spread(parts[0], folder, buckets=256)                 # folder/00001.jsonl, … one file a bucket, one line a row
    for page in read_downloaded(parts[3], folder, download): …   # Page | Dropped: together all of its buckets

    ["https://a.example/1", ""]\n["", "bad_url"]\n        the rows of a bucket: an address, or why there is none

Buckets are hosts.py's, whatever list names the hosts; which of them a part has depends on how many parts there are. The
time is that of one pass over the list and one over each bucket. Knows nothing of the network.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from mm1.curation.fetch.config import MAX_URL
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.page import Dropped, Page
from mm1.curation.sources.hosts import BUCKETS_AT_ONCE, bucket_for, host_of
from mm1.curation.sources.part import Part, SourcesConfig
from mm1.curation.sources.rows import RowSlice, rows

_HELD = 32 << 20
"""Bytes of lines that are held, of all buckets together, before they are written."""


Download: TypeAlias = Callable[[Iterable[str]], Iterable[Fetched]]
"""Each address once in, each once out, in any order."""


def spread(part: Part, folder: Path, buckets: int) -> dict[str, int]:
    """Writes the whole list that `part`, any part of it, is of into one file a bucket; returns how many rows it has.

    A row that holds no address is in a bucket by its place.
    """
    assert part.kind == "page_urls", part.kind
    held: defaultdict[int, list[bytes]] = defaultdict(list)
    size = count = 0
    for place, row in rows(RowSlice(Path(part.path), part.layout, (part.column,))):
        url = row if isinstance(row, Dropped) else address(row[part.column])
        line = json.dumps(["", url.reason] if isinstance(url, Dropped) else [url, ""]).encode() + b"\n"
        held[bucket_for(place if isinstance(url, Dropped) else host_of(url), buckets)].append(line)
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
        with (folder / f"{bucket:05d}.jsonl").open("ab") as file:
            file.writelines(lines)
    held.clear()


def read_downloaded(
    part: Part, spread: Path, download: Download, config: SourcesConfig | None = None
) -> Iterator[Page | Dropped]:
    """The pages of the buckets of a part, and a Dropped for each row that gives none.

    Args:
        part: One of a list of pages.
        spread: The folder that `spread` filled.
        download: Fetches the addresses of some buckets, which come by rising buckets; called until all were.
        config: Only its limits count here; None is the default.
    """
    limit = (config or SourcesConfig()).max_page_bytes
    files = [path for path in sorted(spread.glob("*.jsonl")) if (int(path.stem) - 1) % max(part.stop, 1) == part.start]
    for start in range(0, len(files), BUCKETS_AT_ONCE):
        refused: list[Dropped] = []
        for page in download(_addresses(files[start : start + BUCKETS_AT_ONCE], refused)):
            if page.data is None:
                yield Dropped(page.reason)
            elif len(page.data) > limit:
                yield Dropped("too_large")
            else:
                name = hashlib.sha256(page.url.encode()).hexdigest()[:16]
                yield Page(f"{part.source}/{name}", page.url, page.data, page.charset)
        yield from refused


def _addresses(files: Sequence[Path], refused: list[Dropped]) -> Iterator[str]:
    """The addresses of buckets, each once; the rows that hold none, or one again, go to `refused`."""
    for path in files:
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
