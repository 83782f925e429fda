"""WARC files as pages and pictures: the responses of a crawl.

    read_warc_pages(path, "a.warc.gz", 8 << 20, fetch)    # Page; Dropped("not_html"), ("status_4xx"), ("opt_out"), …
    read_warc_images(path, fetch)                         # ("https://…/a.png", b"…"), ("https://…/b.png", "opt_out")

Every response, resource, revisit and conversion is a page or a Dropped; requests and metadata are neither. HTTP's
chunks and content encodings are undone by fastwarc. What its server sent with a header that refuses its use for
training is refused here as it is when mm1 downloads (fetch/opt_out.py). Knows nothing of extraction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mm1.config import UserError
from mm1.curation.fetch import FetchConfig
from mm1.curation.fetch.opt_out import refusal
from mm1.curation.html.sniffing import begins_as_html
from mm1.curation.local import is_local
from mm1.curation.page import Dropped, Page
from mm1.curation.sources.records import Record, records
from mm1.data.formats.reading import MAX_IMAGE_BYTES

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

_SLACK = 1 << 20
"""Bytes of HTTP's header and chunk marks that a block may have beside what is asked for."""
_COUNTED = ("response", "resource", "revisit", "conversion", "continuation")
_FIELDS = (b"WARC-Type", b"WARC-Target-URI", b"Content-Type")
_HTML = ("text/html", "application/xhtml+xml")
_UNTOLD = ("", "text/plain", "application/octet-stream", "application/xml", "text/xml", "unknown/unknown")
"""Types that servers send for HTML too: its beginning tells."""


def read_warc_pages(path: Path, source: str, max_bytes: int, fetch: FetchConfig) -> Iterator[Page | Dropped]:
    """The pages of a file, named by their offset in it; `fetch` says which headers refuse one."""
    for record in records(path, max_bytes + _SLACK):
        if isinstance(record, Dropped):
            yield record
            continue
        kind = _kind(record)
        if kind not in _COUNTED:
            continue
        try:
            if kind not in ("response", "resource"):
                raise Dropped("not_html" if kind == "conversion" else kind)
            yield _page(record, source, max_bytes, fetch)
        except Dropped as drop:
            yield drop


def read_warc_images(path: Path, fetch: FetchConfig) -> Iterator[tuple[str, bytes | str]]:
    """The pictures of a file by their addresses, as their servers typed them; what they are, decoding tells. Of one
    that a header refuses the reason: its address is not to be asked either.
    """
    for record in records(path, MAX_IMAGE_BYTES + _SLACK):
        if isinstance(record, Dropped) or record.block is None or _kind(record) not in ("response", "resource"):
            continue
        try:
            parsed = _parse(record)
            if _type(parsed).startswith("image/"):
                _check_status(parsed)
                yield _target(parsed), _refusal(parsed, fetch) or _payload(record, parsed, MAX_IMAGE_BYTES, bool)
        except Dropped:
            continue


def _kind(record: Record) -> str:
    return _field(record, b"WARC-Type").decode("latin-1").lower()


def _field(record: Record, name: bytes) -> bytes:
    """A value of the record's header, its first of this name; empty where it has none."""
    for line in record.header.split(b"\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return b""


def _page(record: Record, source: str, max_bytes: int, fetch: FetchConfig) -> Page:
    """Raises Dropped where the record holds no page."""
    if record.block is None:
        raise Dropped("too_large")
    parsed = _parse(record)
    _check_status(parsed)
    kind = _type(parsed)
    if kind not in _HTML and kind not in _UNTOLD:
        raise Dropped("not_html")
    html = _payload(record, parsed, max_bytes, begins_as_html)
    if kind not in _HTML and not begins_as_html(html):
        raise Dropped("not_html")
    if refused := _refusal(parsed, fetch):
        raise Dropped(refused)
    return Page(f"{source}/{record.offset}", _target(parsed), html, parsed.http_charset or "")


def _parse(record: Record) -> WarcRecord:
    """The record with its HTTP header taken apart; its body is as it was sent."""
    parsed = _opened(record, "none")
    if parsed.is_http and (parsed.http_headers is None or parsed.http_headers.status_code is None):
        raise Dropped("damaged_record")
    return parsed


def _opened(record: Record, decode: Literal["none", "all"]) -> WarcRecord:
    try:
        from fastwarc.warc import WarcRecord
    except ImportError:
        raise UserError("reading WARC files needs fastwarc: pip install 'mm1[curate]'") from None

    assert record.block is not None
    # Its parser takes as much memory as any line says that looks like a length to it, and ends the whole process if
    # there is not so much: it is told what is known, and shown nothing else of a stranger's header.
    known = b"".join(b"%s: %s\r\n" % (name, _field(record, name)) for name in _FIELDS)
    header = b"WARC/1.0\r\n%sContent-Length: %d\r\n\r\n" % (known, len(record.block))
    try:
        parsed = WarcRecord.from_bytes(header + record.block)
        if parsed.is_http:
            parsed.parse_http(auto_decode=decode, quirks_mode=True)
    except (OSError, ValueError):
        raise Dropped("damaged_record") from None
    return parsed


def _check_status(parsed: WarcRecord) -> None:
    """Raises Dropped for an answer that is not 200; a record without HTTP has none."""
    if parsed.http_headers is not None and (status := parsed.http_headers.status_code) != 200:
        raise Dropped(f"status_{status // 100}xx" if status is not None and 100 <= status < 600 else "status_other")


def _refusal(parsed: WarcRecord, fetch: FetchConfig) -> str:
    return "" if parsed.http_headers is None else refusal(parsed.http_headers.astuples(), fetch)


def _type(parsed: WarcRecord) -> str:
    """The type that the server said, or of a record without HTTP the archive, in lower case."""
    if parsed.http_headers is not None:
        return (parsed.http_content_type or "").lower()
    return (parsed.headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def _target(parsed: WarcRecord) -> str:
    """WARC 1.0 draft tools wrote the address in angle brackets; a `local:` one, a folder's, is left out."""
    url = (parsed.headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">")
    return "" if is_local(url.lower()) else url.encode("utf-8", "replace").decode()


def _payload(record: Record, parsed: WarcRecord, limit: int, is_plain: Callable[[bytes], bool]) -> bytes:
    """The decoded body. One that is not encoded as its header says, as when the crawler decoded it, is taken as it is
    if it looks so.

    Raises:
        Dropped: too_large (decoded, of which no more is made), bad_content_encoding.
    """
    data = _decoded(record, limit) if _is_encoded(parsed) else None
    if data is None:
        data = parsed.reader.read(limit + 1)
        if _is_encoded(parsed) and not is_plain(data):
            raise Dropped("bad_content_encoding")
    if len(data) > limit:
        raise Dropped("too_large")
    return data


def _is_encoded(parsed: WarcRecord) -> bool:
    said = parsed.http_headers
    return said is not None and any(said.get(name) for name in ("Content-Encoding", "Transfer-Encoding"))


def _decoded(record: Record, limit: int) -> bytes | None:
    try:
        return _opened(record, "all").reader.read(limit + 1)
    except (OSError, Dropped):
        return None
