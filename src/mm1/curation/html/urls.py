"""Addresses in a page, made absolute.

    resolve("../img/a.png", "https://x.org/d/p.html")   # https://x.org/img/a.png
    resolve("../img/a.png", "local:d/p.html")           # local:img/a.png, a file of the source's folder

The path of a local: address is the file's own name, percent-encoded; it never leaves the folder, however many `..`
stand in it, and only a page that is local itself can name one. Knows nothing of elements; asks no network.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from mm1.curation.local import is_local, local_name, local_url

LONGEST_BASE = 8_000
"""Characters; every relative address of a page is joined to it."""

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_DROPPED = re.compile(r"[\t\r\n\0]+")
_IMAGE_DATA = re.compile(r"data:image/", re.IGNORECASE)
_PLAIN = re.compile(r"[!-~]*")
_KEPT = "%/:=&?~+!$,;'@()*[]|#"


def resolve(reference: str, base: str) -> str:
    """The absolute address of an image, "" for what is none (javascript:, file:, data: that is no image, no base).

    Args:
        reference: as it stands in an attribute.
        base: the absolute address against which it counts; "" where it is not known.
    """
    reference = _DROPPED.sub("", reference).strip()
    if not reference or reference.startswith("#"):
        return ""
    if _IMAGE_DATA.match(reference):
        return reference
    scheme = _SCHEME.match(reference)
    if scheme:
        return _web(reference) if scheme.group().lower() in ("http:", "https:") else ""
    reference = reference.replace("\\", "/")
    if is_local(base):
        return _web("https:" + reference) if reference.startswith("//") else _local(reference, base)
    try:
        return _web(urljoin(base, reference)) if base else ""
    except ValueError:
        return ""


def base_of(url: str, href: str | None) -> str:
    """Against what addresses count: the page's own, or what its <base href> makes of it, unless that is too long."""
    if not href or len(href) > LONGEST_BASE:
        return url
    reference = _DROPPED.sub("", href).strip()
    return resolve(reference, url) or url


def _local(reference: str, base: str) -> str:
    """Compared and joined as the bytes of names, then spelled as the walk over a folder spells them."""
    path = _bytes(re.split(r"[?#]", reference, maxsplit=1)[0]).replace(b"\\", b"/").replace(b"\0", b"")
    folder = b"" if path.startswith(b"/") else _bytes(local_name(base).rpartition("/")[0])
    parts: list[bytes] = []
    for part in (folder + b"/" + path).split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    slash = "/" if path.endswith(b"/") and parts else ""
    return local_url(quote(b"/".join(parts)) + slash) if parts else ""


def _bytes(path: str) -> bytes:
    return unquote_to_bytes(path.encode("utf-8", "replace"))


def _web(url: str) -> str:
    """Without fragment, and with what no address may hold percent-escaped; "" for what is no address of a host."""
    try:
        scheme, host, path, query, _ = urlsplit(url.replace("\\", "/"))
    except ValueError:
        return ""
    if scheme not in ("http", "https") or not host:
        return ""
    if not _PLAIN.fullmatch(path):
        path = quote(path, safe=_KEPT)
    if not _PLAIN.fullmatch(query):
        query = quote(query, safe=_KEPT)
    return urlunsplit((scheme, host, path or "/", query, ""))
