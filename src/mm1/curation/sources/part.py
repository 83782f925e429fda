"""A part: what one worker reads at once, a source file or a slice of a folder, of a table or of a list.

    crawl.warc.gz                  →  Part(kind="warc")
    site/ (30,000 pages)           →  Part(kind="folder", packed=pack(["a.html", …])), Part(…), …
    pages.parquet (12 row groups)  →  Part(kind="parquet", start=0, stop=4), …

A part is a plain value: it travels to other processes and machines, and is written down as JSON. Knows nothing of how
parts are found or read.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from mm1.config import Config

PartKind: TypeAlias = Literal["warc", "folder", "jsonl", "parquet", "page_urls", "image_urls"]
Layout: TypeAlias = Literal["", "lines", "csv", "jsonl", "parquet"]
"""How a file holds its rows; "" where it has none."""


class Part(Config):
    """What one worker reads at once."""

    kind: PartKind
    """`image_urls` holds pictures with captions and no pages: read it with `read_listed`; `page_urls` is read with
    `read_downloaded`, the others with `read_pages`."""
    name: str
    """Names it among all parts of a run, fit for a file's name; the same whenever the same sources are given."""
    source: str
    """Names the file or folder among those of a run. `local:` addresses count within one source: the same address in
    two folders is two pictures."""
    path: str
    """The file or, of a folder, the folder; absolute."""
    packed: str = ""
    """Of a folder: its `files`, as `pack` has them: all parts are in memory at once, and so are the names of millions
    of pages, which take 150 bytes each as they are and 15 packed."""
    start: int = 0
    stop: int = 0
    """Which slice it is. Bytes of a JSONL file (a line belongs to where it begins), row groups of a parquet file, rows
    of a list of images; of a list of pages every `stop`th bucket of hosts (hosts.py), from `start`; 0, 0 is all of
    it."""
    layout: Layout = ""
    column: str = ""
    """Where a table holds the HTML, or a list the addresses."""
    caption: str = ""
    """Where a list of pictures holds their captions."""
    fingerprint: str
    """A hash of what is to be read: names, sizes and times of change of the files, and the slice."""
    size: int = 0
    """Bytes that are read, about; of a list, without what it names."""
    pictures: str = ""
    """Of a folder: the same hash of the files in it that are no pages, for who reads pictures from it."""

    @property
    def files(self) -> tuple[str, ...]:
        """Of a folder: its pages' paths within it, percent-encoded as in their `local:` addresses."""
        return tuple(zlib.decompress(base64.b85decode(self.packed)).decode().split("\n")) if self.packed else ()

    @property
    def root(self) -> Path:
        """The folder to which `local:` addresses of this part's pages are confined; meaningful for a folder alone."""
        return Path(self.path)


def pack(files: Iterable[str]) -> str:
    """Percent-encoded paths, at least one, in few characters."""
    return base64.b85encode(zlib.compress("\n".join(files).encode())).decode()


class SourcesConfig(Config):
    """How sources are read."""

    html: str | None = None
    """The column or key of the HTML in tables; None looks for html, content, raw_content, raw_html, body and others."""
    urls: Literal["auto", "pages", "images"] = "auto"
    """What lists of addresses name: `auto` takes a list with captions, or one most of whose addresses end like a
    picture, for pictures, and every other for pages."""
    max_page_bytes: int = Field(default=8 << 20, ge=1)
    """A longer page, decompressed, is dropped as too_large."""
    part_files: int = Field(default=512, ge=1)
    """Pages of a folder in one part, at most."""
    part_bytes: int = Field(default=64 << 20, ge=1)
    """Bytes in one part of a folder or of a table that can be cut, at most (one page or row group may be more)."""
    part_urls: int = Field(default=10_000, ge=1)
    """Addresses in one part of a list, about; more where a list of pages has more than that for each bucket."""
