"""Whether who owns a page or an image refuses its use for training: by a header, or by a tag in the page.

    refusal([("X-Robots-Tag", "noai")], config)                          # "opt_out"
    page_refusal(b'<meta name="tdm-reservation" content="1">', config)   # "tdm_reservation"

The same for what is downloaded now and what somebody's crawler downloaded. Knows nothing of requests or archives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mm1.curation.fetch.config import FetchConfig

HEAD_BYTES = 200_000
"""Of a page, searched for its tags."""

_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
_META = re.compile(rb"<meta\s([^<>]{1,2000})>", re.I)
_ATTRIBUTE = re.compile(rb"(?<![a-z-])([a-z-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.I)


def refusal(headers: Iterable[tuple[str, str]], config: FetchConfig) -> str:
    """The reason not to keep what came with these HTTP headers: opt_out, tdm_reservation, or "" for none."""
    for key, value in headers:
        if key.lower() == "x-robots-tag" and _refuses(value, config):
            return "opt_out"
        if key.lower() == "tdm-reservation" and value.strip() == "1" and config.tdm_reservation:
            return "tdm_reservation"
    return ""


def page_refusal(html: bytes, config: FetchConfig) -> str:
    """The same for the meta tags of a page."""
    names = {name.lower() for name in ("robots", *config.robots_names)}
    for tag in _META.finditer(html[:HEAD_BYTES]):
        found = {match[1].lower(): match[2] or match[3] or match[4] or b"" for match in _ATTRIBUTE.finditer(tag[1])}
        name = found.get(b"name", b"").decode("latin-1").strip().lower()
        content = found.get(b"content", b"").decode("latin-1")
        if name in names and _refuses(content, config):
            return "opt_out"
        if name == "tdm-reservation" and content.strip() == "1" and config.tdm_reservation:
            return "tdm_reservation"
    return ""


def _refuses(value: str, config: FetchConfig) -> bool:
    """Whether one of the words in `value` refuses; those after `othername:` are for that crawler alone."""
    names = {name.lower() for name in config.robots_names}
    words = {word.lower() for word in config.opt_out}
    for_us = True
    for piece in value.lower().split(","):
        before, colon, after = piece.partition(":")
        if colon and before.strip() not in _WITH_VALUE:
            for_us = before.strip() in names
            piece = after
        if for_us and piece.strip() in words:
            return True
    return False
