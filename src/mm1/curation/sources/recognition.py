"""What a file of pages is: told by how it begins, by the columns of a table, by the keys of a JSON object.

    recognise(Path("crawl.warc.gz"), SourcesConfig())     # Recognised("warc")
    recognise(Path("pages.parquet"), SourcesConfig())     # Recognised("parquet", "html")

A list of addresses names pictures if it has captions, or if most of its addresses end like a picture; it names pages
otherwise, unless the setting says what it names. Knows nothing of folders or parts.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from mm1.config import UserError
from mm1.curation.html.sniffing import begins_as_html
from mm1.curation.page import Dropped
from mm1.curation.sources.part import Layout, PartKind, SourcesConfig
from mm1.curation.sources.rows import TEXT_KINDS, RowSlice, rows
from mm1.data.formats import tables
from mm1.data.formats.reading import Unusable
from mm1.data.formats.streams import Damaged, head, parse_json

HTML = ("html", "raw_html", "raw_content", "content", "body", "page", "text_html")
"""Names that columns of HTML go by, in the order in which they are taken."""
URLS = ("url", "image_url", "img_url", "URL", "link", "href", "uri")
CAPTIONS = ("caption", "TEXT", "text", "alt", "alt_text")
UNDERSTOOD = (
    "WARC files (plain, gzip, zstd, lz4), folders of HTML, JSONL or parquet with HTML in a column such as "
    "html or content, and lists of addresses (one a line, or CSV, JSONL or parquet with a column url)"
)
_HEAD = 1 << 20
_LOOKED_AT = 1000
"""Addresses of a list that are looked at to tell pages from pictures."""
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_LZ4 = b"\x04\x22\x4d\x18"


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file is, how its rows are laid out, and the columns that hold its HTML or addresses, and captions."""

    kind: PartKind
    layout: Layout = ""
    column: str = ""
    caption: str = ""


def recognise(path: Path, config: SourcesConfig) -> Recognised:
    """What `path`, a file, is.

    Raises:
        UserError: it is none of what is understood; the sentence says what was found.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    try:
        start = head(path, _HEAD) if magic != _LZ4 else b"WARC/"
        if not start.strip() and _is_named_warc(path):
            raise Damaged("empty")
    except Damaged as error:
        if _is_named_warc(path):  # one damaged file of ten thousand stops no run: reading it counts what is lost
            return Recognised("warc")
        raise UserError(f"{path} can not be read, it is {error.reason}: copy it anew, or leave it out") from None
    if start.startswith(b"WARC/"):
        return Recognised("warc")
    if start.startswith(b"PAR1"):
        return _of_columns(path, "parquet", _table_columns(path), config)
    bare = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if not bare:
        raise UserError(f"{path} is empty: leave it out")
    if bare.startswith(b"{"):
        return _of_columns(path, "jsonl", _json_columns(path, bare), config)
    first = bare.partition(b"\n")[0].strip()
    if b"\0" in first:
        raise UserError(f"{path} is nothing that pages are read from: give {UNDERSTOOD}")
    if b"\r" in first:
        raise UserError(f"{path} has lines that end in bare carriage returns: convert their ends to line feeds")
    if _is_address(first.decode("utf-8", "replace")):
        return _of_list(path, Recognised("page_urls", "lines", "url"), config)
    names = _csv_names(first)
    if any(name in URLS for name in names):
        return _of_columns(path, "csv", dict.fromkeys(names, "text"), config)
    raise UserError(f"{path} is nothing that pages are read from: give {UNDERSTOOD}")


def _csv_names(line: bytes) -> list[str]:
    """Of the columns, if `line` can be a header of CSV."""
    try:
        return next(csv.reader([line.decode("utf-8", "replace")]), []) if b"\0" not in line else []
    except csv.Error:  # a field beyond csv's limit, or bare carriage returns
        return []


def _is_named_warc(path: Path) -> bool:
    return ".warc" in (suffix.lower() for suffix in path.suffixes)


def _table_columns(path: Path) -> dict[str, str]:
    found: dict[str, pa.DataType] | None = tables.columns(path)
    if found is None:
        raise UserError(f"{path} has no readable parquet footer, it may be cut off: copy it anew, or leave it out")
    return {name: tables.kind_of(kind) for name, kind in found.items()}


def _json_columns(path: Path, start: bytes) -> dict[str, str]:
    line, end, _ = start.partition(b"\n")
    try:
        row = parse_json(line)
    except Unusable:
        why = "its first line is no JSON object" if end else f"its first line is no JSON, or longer than {_HEAD} bytes"
        raise UserError(f"{path} is not JSONL, {why}: write one object a line") from None
    if not isinstance(row, dict):
        raise UserError(f"{path} is not JSONL, its first line is no object: write one object a line")
    return {key: "text" if isinstance(value, str) else type(value).__name__ for key, value in row.items()}


def _of_columns(path: Path, layout: Layout, kinds: Mapping[str, str], config: SourcesConfig) -> Recognised:
    def first(names: tuple[str, ...]) -> str:
        return next((name for name in names if kinds.get(name) in TEXT_KINDS), "")

    html = first((config.html,) if config.html else HTML)
    if html and layout == "csv" and (config.html or _holds_html(path, html)):
        raise UserError(
            f"{path} is CSV with HTML in its column {html}, which is read from JSONL or parquet alone: "
            "convert it, or leave the column out to have its addresses fetched"
        )
    if html and layout != "csv":
        return Recognised("parquet" if layout == "parquet" else "jsonl", layout, html)
    if (url := first(URLS)) and not config.html:
        return _of_list(path, Recognised("page_urls", layout, url, first(CAPTIONS)), config)
    there = ", ".join(f"{name} ({kind})" for name, kind in list(kinds.items())[:20]) or "none"
    wanted = config.html or f"{', '.join(HTML)} (HTML), {' or '.join(URLS[:2])} (addresses)"
    raise UserError(f"{path} has the columns {there}, but no text named {wanted}: name the column of the HTML")


def _holds_html(path: Path, column: str) -> bool:
    """Whether a column of CSV whose name says so does; a field beyond csv's limit is no address or title either."""
    some = islice(rows(RowSlice(path, "csv", (column,))), _LOOKED_AT)
    return any(isinstance(row, Dropped) or begins_as_html((row[column] or "").encode()) for _, row in some)


def _of_list(path: Path, found: Recognised, config: SourcesConfig) -> Recognised:
    """Of pages as `found` says, or of pictures."""
    names_pictures = config.urls == "images"
    if config.urls == "auto":
        names_pictures = bool(found.caption) or _most_are_pictures(path, found)
    return Recognised("image_urls" if names_pictures else "page_urls", found.layout, found.column, found.caption)


def _most_are_pictures(path: Path, found: Recognised) -> bool:
    some = islice(rows(RowSlice(path, found.layout, (found.column,))), _LOOKED_AT)
    addresses = [value for _, row in some if isinstance(row, dict) and isinstance(value := row[found.column], str)]
    pictures = sum(_path_of(address).lower().endswith(_PICTURES) for address in addresses)
    return 2 * pictures > len(addresses)


def _path_of(address: str) -> str:
    try:
        return urlsplit(address).path
    except ValueError:
        return ""


def _is_address(text: str) -> bool:
    return text.lower().startswith(("http://", "https://")) and " " not in text
