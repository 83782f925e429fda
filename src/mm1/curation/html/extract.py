"""A page's main content: its text and its images in the order in which they are read.

    extract(b"<nav>Home</nav><main><h1>Cats</h1><p>A cat.</p><img src=c.jpg></main>", "https://x.org/")
    # Extracted("", "", (Paragraph("Cats", "heading"), Paragraph("A cat."), ImageRef("https://x.org/c.jpg")))

Text is as it came (no Unicode normalisation) but for whitespace, which is single outside code, and control characters,
which are gone. Knows nothing of files, of what pictures hold, or of whether the content is good.
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser

from mm1.curation.html.content import main_content
from mm1.curation.html.encoding import decode
from mm1.curation.html.guards import check_addresses, check_attributes
from mm1.curation.html.nesting import check_nesting
from mm1.curation.html.parser import parse
from mm1.curation.html.runs import Run, spaced
from mm1.curation.html.sniffing import may_be_html
from mm1.curation.html.urls import base_of
from mm1.curation.html.walk import flatten
from mm1.curation.page import Block, Dropped, Extracted, Paragraph

MAX_BYTES = 10_000_000

_REPLACED = "\ufffd"
_MOST_REPLACED = 0.02
"""The share of characters that may be wrong in the encoding."""
_MAIN = "main, [role=main]"
"""Where there is one of these, nothing else of the page is read."""
_BASE = re.compile("<base", re.IGNORECASE)
"""Most pages have none, and their text is searched sooner than their tree."""
_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}(?=$|[-_])")


def extract(html: bytes, url: str = "", encoding: str = "", *, max_bytes: int = MAX_BYTES) -> Extracted:
    """Reads a page.

    Args:
        html: as it was served or stored.
        url: its absolute address, or local:PATH; without one, images with relative addresses are left out.
        encoding: what the server said: a label, or a whole Content-Type.
        max_bytes: of the largest page that is read.

    Raises:
        Dropped: too_large (the page, or its addresses with their base), undecodable, not_html, too_deep,
            too_many_attributes, too_many_reopened, or empty, as is also a page without content.
    """
    if len(html) > max_bytes:
        raise Dropped("too_large")
    text = decode(html, encoding)
    if not text.strip():
        raise Dropped("empty")
    if text.count(_REPLACED) > len(text) * _MOST_REPLACED:
        raise Dropped("undecodable")
    if not may_be_html(text):
        raise Dropped("not_html")
    check_attributes(text)
    check_nesting(text)
    page = parse(text)
    blocks = tuple([_block(run) for run in _content(page, text, url)])
    if not blocks:
        raise Dropped("empty")
    return Extracted(_title(page), _language(page), blocks)


def _content(page: LexborHTMLParser, text: str, url: str) -> list[Run]:
    body = page.body
    if body is None:
        return []
    href = page.css_first("base[href]") if _BASE.search(text) else None
    base = base_of(url, href.attributes["href"] if href is not None else None)
    check_addresses(text, base)
    declared = page.css(_MAIN)
    if len(declared) == 1 and (content := main_content(flatten(declared[0], base), declared=True)):
        return content
    return main_content(flatten(body, base))


def _block(run: Run) -> Block:
    return Paragraph(run.text, run.kind) if run.image is None else run.image


def _title(page: LexborHTMLParser) -> str:
    found = page.head.css_first("title") if page.head is not None else None
    return spaced(found.text()) if found is not None else ""


def _language(page: LexborHTMLParser) -> str:
    attributes = page.root.attributes if page.root is not None else {}
    found = _LANGUAGE.match((attributes.get("lang") or attributes.get("xml:lang") or "").strip())
    return found.group().lower() if found else ""
