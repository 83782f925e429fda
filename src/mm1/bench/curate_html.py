"""The HTML half of `mm1 bench curate`: pages a CPU-second, beside trafilatura and resiliparse where they can be
imported.

    measure_html(pages, 5)["pages_per_cpu_second"]   # {"mm1": …, "resiliparse": …, "trafilatura": …}

Every extractor lives in a process of its own (html_extractors.py says what each gives) and is asked in turn, one at a
time: in every repetition each reads all pages once, every second time in the opposite order, after a round that does
not count. What is compared are medians. Like for like with mm1, which gives title and language too, is trafilatura with
metadata.

How good the content is can be measured where the element that holds it is known: `quality`.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from re import findall
from statistics import median
from typing import Any
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser

from mm1.bench import html_extractors
from mm1.bench.children import environment
from mm1.bench.html_extractors import EXTRACTORS, READY, URL
from mm1.config import UserError
from mm1.curation.html import extract
from mm1.curation.page import Dropped, Extracted


def measure_html(pages: Sequence[bytes], repetitions: int) -> dict[str, Any]:
    """Figures as plain values: rates by extractor, every repetition's seconds, and by how much mm1 is faster.

    Raises:
        UserError: the process of an extractor ended.
    """
    with ExitStack() as stack:
        children = {name: stack.enter_context(_Child(name)) for name in EXTRACTORS}
        children = {name: child for name, child in children.items() if child.take(pages)}
        rounds = [_round(children, backwards=bool(at % 2)) for at in range(repetitions + 1)][1:]
    seconds = {name: [each[name] for each in rounds] for name in children}
    medians = {name: median(each) for name, each in seconds.items()}
    return {
        "pages": len(pages),
        "bytes": sum(map(len, pages)),
        "cpu_seconds": seconds,
        "pages_per_cpu_second": {name: len(pages) / each for name, each in medians.items()},
        "ratios": {name: each / medians["mm1"] for name, each in medians.items() if name != "mm1"},
    }


def _round(children: Mapping[str, _Child], *, backwards: bool) -> dict[str, float]:
    names = [*children][:: -1 if backwards else 1]
    return {name: children[name].read_all() for name in names}


class _Child:
    """An extractor's process, from here."""

    def __init__(self, name: str) -> None:
        self._name = name
        command = [sys.executable, "-m", html_extractors.__name__, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def take(self, pages: Sequence[bytes]) -> bool:
        """Gives it the pages, and says whether the extractor can be imported."""
        return self._answer(pickle.dumps(list(pages))) == READY

    def read_all(self) -> float:
        """CPU seconds of its process for all pages, once."""
        return float(self._answer(b"\n"))

    def _answer(self, asked: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(asked)
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError(f"the process of {self._name} that was measured has ended: what it says stands above")
        return answer


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


def _with_mm1(page: bytes) -> Extracted | None:
    try:
        return extract(page, URL)
    except Dropped:
        return None


def _truth(page: bytes, selector: str) -> tuple[Counter[str], Counter[str]] | None:
    tree = LexborHTMLParser(page, encoding=True)
    tree.strip_tags(["script", "style", "noscript", "template"])
    element = tree.css_first(selector)
    if element is None:
        return None
    words = Counter(findall(r"\w+", element.text(separator=" ")))
    images = Counter(urljoin(URL, source) for node in element.css("img") if (source := node.attributes.get("src")))
    return (words, images) if words or images else None


def _words(extracted: Extracted | None) -> Counter[str]:
    if extracted is None:
        return Counter()
    captions = [image.caption for image in extracted.images]
    return Counter(findall(r"\w+", " ".join([extracted.text, *captions])))
