"""The HTML half of `mm1 bench curate`: pages a CPU-second, beside trafilatura and resiliparse where they can be
imported.

    measure_html(pages, 5)["pages_per_cpu_second"]   # {"mm1": …, "resiliparse": …, "trafilatura": …}

Everything runs in this process and one thread: in every repetition each extractor reads all pages once, every second
time in the opposite order; what is compared are medians. Each does what it does out of the box with images asked for:
resiliparse the main content's plain text, without images' places; trafilatura text with image references, and once
more with the page's title, language, date and so on; mm1 blocks of text and images, title and language.

How good the content is can be measured where the element that holds it is known: `quality`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from re import findall
from statistics import median
from typing import Any, TypeAlias
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser

from mm1.curation.html import extract
from mm1.curation.page import Dropped, Extracted

Extractor: TypeAlias = Callable[[bytes], object]

_URL = "https://example.org/a/b/c/d/page.html"


def measure_html(pages: Sequence[bytes], repetitions: int) -> dict[str, Any]:
    """Figures as plain values: rates by extractor, every repetition's seconds, and by how much mm1 is faster."""
    extractors = _extractors()
    seconds: dict[str, list[float]] = {name: [] for name in extractors}
    for repetition in range(repetitions):
        for name in [*extractors][:: -1 if repetition % 2 else 1]:
            seconds[name].append(_cpu_seconds(extractors[name], pages))
    medians = {name: median(each) for name, each in seconds.items()}
    return {
        "pages": len(pages),
        "bytes": sum(map(len, pages)),
        "cpu_seconds": seconds,
        "pages_per_cpu_second": {name: len(pages) / each for name, each in medians.items()},
        "ratios": {name: each / medians["mm1"] for name, each in medians.items() if name != "mm1"},
    }


def _cpu_seconds(extractor: Extractor, pages: Sequence[bytes]) -> float:
    start = time.process_time()
    for page in pages:
        extractor(page)
    return time.process_time() - start


def _extractors() -> Mapping[str, Extractor]:
    found: dict[str, Extractor] = {"mm1": _with_mm1}
    for load in (_resiliparse, _trafilatura):
        with suppress(ImportError):
            found |= load()
    return found


def _resiliparse() -> dict[str, Extractor]:
    plain = import_module("resiliparse.extract.html2text").extract_plain_text
    tree = import_module("resiliparse.parse.html").HTMLTree
    return {"resiliparse": lambda page: plain(tree.parse_from_bytes(page), main_content=True, alt_texts=True)}


def _trafilatura() -> dict[str, Extractor]:
    text_of = import_module("trafilatura").extract
    return {
        "trafilatura": lambda page: text_of(page, include_images=True),
        "trafilatura with metadata": lambda page: text_of(
            page, include_images=True, with_metadata=True, output_format="json"
        ),
    }


def _with_mm1(page: bytes) -> Extracted | None:
    try:
        return extract(page, _URL)
    except Dropped:
        return None


@dataclass(frozen=True, slots=True)
class Quality:
    """How the extracted content compares with the element that holds it."""

    pages: int
    """Which have the element, and text or images in it."""
    f1: float
    """Of the words as a bag, the mean over pages."""
    images: int
    """In the element."""
    images_found: int

    @property
    def recall(self) -> float:
        """Of images."""
        return self.images_found / self.images if self.images else 1.0


def quality(pages: Iterable[tuple[bytes, str]]) -> Quality:
    """Scores pages, each with the CSS selector of its main content; the selector is for the score alone."""
    scores: list[float] = []
    images = images_found = 0
    for page, selector in pages:
        truth = _truth(page, selector)
        if truth is None:
            continue
        words, wanted = truth
        extracted = _with_mm1(page)
        found = _words(extracted)
        scores.append(2 * (words & found).total() / max(words.total() + found.total(), 1))
        shown = Counter(image.url for image in extracted.images) if extracted else Counter()
        images += wanted.total()
        images_found += (wanted & shown).total()
    return Quality(len(scores), sum(scores) / max(len(scores), 1), images, images_found)


def _truth(page: bytes, selector: str) -> tuple[Counter[str], Counter[str]] | None:
    tree = LexborHTMLParser(page, encoding=True)
    tree.strip_tags(["script", "style", "noscript", "template"])
    element = tree.css_first(selector)
    if element is None:
        return None
    words = Counter(findall(r"\w+", element.text(separator=" ")))
    images = Counter(urljoin(_URL, source) for node in element.css("img") if (source := node.attributes.get("src")))
    return (words, images) if words or images else None


def _words(extracted: Extracted | None) -> Counter[str]:
    if extracted is None:
        return Counter()
    captions = [image.caption for image in extracted.images]
    return Counter(findall(r"\w+", " ".join([extracted.text, *captions])))
