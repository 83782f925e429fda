"""Addresses that strangers wrote, read the one strict way in which they are then asked for.

    parse_url("HTTP://Bücher.Example/a b/../ü")   # http://xn--bcher-kva.example/%C3%BC
    parse_url("http://me:secret@a.example/")      # Failed("credentials")
    parse_url("http://2130706433/")               # Failed("bad_host"): 127.0.0.1 in disguise

What browsers forgive is forgiven where it is harmless (blanks around, backslashes, letters beyond ASCII) and refused
where it hides the true host. Knows nothing of DNS: what a name leads to is checked when it is connected to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import quote, urljoin

import idna
from yarl import URL

from mm1.curation.fetch.config import MAX_URL
from mm1.curation.fetch.failed import Failed

DEFAULT_PORTS = {"http": 80, "https": 443}
_PARTS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*):(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?P<query>\?[^#]*)?", re.I
)
_AUTHORITY = re.compile(r"(?P<host>\[[^]]*\]|[^:]*)(?::(?P<port>[0-9]{0,5}))?")
_NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
_IN_PATH = "/%:@!$&'()*+,;=~"


def parse_url(text: str, ports: Collection[int] = (80, 443)) -> URL:
    """The address as it will be asked for: ASCII, no fragment, dots resolved, host in lower case.

    Args:
        text: absolute, as found.
        ports: the allowed ones.

    Raises:
        Failed: url_too_long, not_http, bad_url, credentials, bad_host, bad_port.
    """
    if len(text) > MAX_URL:
        raise Failed("url_too_long")
    text = re.sub(r"[\t\n\r]", "", text.strip("".join(map(chr, range(33)))))
    parts = _PARTS.match(_backslashes_turned(text))
    if parts is None:
        raise Failed("bad_url")
    scheme = parts["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise Failed("not_http")
    if not parts["authority"]:
        raise Failed("bad_url")
    host, port = _parse_authority(parts["authority"], DEFAULT_PORTS[scheme], ports)
    where = host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"
    path = _without_dots(_quoted(parts["path"], _IN_PATH) or "/")
    return URL(f"{scheme}://{where}{path}{_quoted(parts['query'] or '', _IN_PATH + '?')}", encoded=True)


def resolve_location(location: str, base: URL) -> str:
    """Where a Location header leads from `base`, as text for `parse_url`.

    Args:
        location: as aiohttp gives it: bytes beyond ASCII are UTF-8, or single surrogates where they are not.
        base: the address that answered with it.

    Raises:
        Failed: bad_url.
    """
    raw = location.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        return urljoin(str(base), _backslashes_turned(text.strip()))
    except ValueError:
        raise Failed("bad_url") from None


def _backslashes_turned(text: str) -> str:
    """As browsers read them: a backslash before the query is a slash."""
    head, mark, tail = re.fullmatch(r"([^?#]*)([?#]?)(.*)", text, re.S).groups()  # type: ignore[union-attr]  # always fits
    return head.replace("\\", "/") + mark + tail


def _parse_authority(authority: str, default: int, ports: Collection[int]) -> tuple[str, int]:
    if "@" in authority:
        raise Failed("credentials")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise Failed("bad_host" if authority.startswith("[") or authority.count(":") > 1 else "bad_port")
    port = int(match["port"] or default)
    if port not in ports:
        raise Failed("bad_port")
    return _parse_host(match["host"]), port


def _parse_host(host: str) -> str:
    """The name in ASCII, or the IP address in its one canonical form."""
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]" if "%" not in host else _bad_host()
        except ValueError:
            _bad_host()
    if not host.isascii():
        if len(host) > 253:
            _bad_host()
        try:
            host = idna.encode(host, uts46=True).decode()
        except UnicodeError:
            _bad_host()
    host = host.lower().removesuffix(".")
    if _LOOKS_NUMERIC.fullmatch(host):
        try:  # 127.1, 0x7f.1 and 017700000001 are addresses to the system, and so to nobody but attackers
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            _bad_host()
    return host if _NAME.fullmatch(host) else _bad_host()


def _bad_host() -> str:
    raise Failed("bad_host") from None


def _quoted(text: str, safe: str) -> str:
    return quote(re.sub(r"[\ud800-\udfff]", "\ufffd", text), safe=safe)


def _without_dots(path: str) -> str:
    """`.` and `..` resolved, in whatever way they are written: /a/%2e%2E/b is /b. It begins with a slash."""
    kept: list[str] = []
    steps = path.split("/")[1:]
    for number, step in enumerate(steps):
        plain = re.sub("%2e", ".", step, flags=re.I)
        if plain == "..":
            kept = kept[:-1]
        if plain not in (".", ".."):
            kept.append(step)
        elif number == len(steps) - 1:
            kept.append("")
    return "/" + "/".join(kept)
