"""Extractors of HTML, each in a process of its own, as its users have it: with its own imports and heap and no others.

    python -m mm1.bench.html_extractors trafilatura
    in   the pickled list of pages, then a line for every time that all shall be read
    out  "ready", or "missing" where it can not be imported; then a line of CPU seconds every time

Each does what it does out of the box with images asked for: resiliparse the main content's plain text, without images'
places; trafilatura text with image references, and once more with the page's title, language, date and so on; mm1
blocks of text and images, title and language. Imports none of them before it is asked for. Knows nothing of who asks
when.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import IO, Any, TypeAlias

Extractor: TypeAlias = Callable[[bytes], object]

URL = "https://example.org/a/b/c/d/page.html"
"""Of every page."""

READY, MISSING = b"ready\n", b"missing\n"


def serve(name: str, asked: IO[bytes], answers: IO[bytes]) -> None:
    """Reads what is asked for until nothing more is."""
    pages = pickle.load(asked)
    try:
        extractor = EXTRACTORS[name]()
    except ImportError:
        answers.write(MISSING)
        return
    answers.write(READY)
    answers.flush()
    for _ in asked:
        answers.write(b"%r\n" % cpu_seconds(extractor, pages))
        answers.flush()


def cpu_seconds(extractor: Extractor, pages: Sequence[bytes]) -> float:
    """Of this process, for all pages once."""
    start = time.process_time()
    for page in pages:
        extractor(page)
    return time.process_time() - start


def _mm1() -> Extractor:
    extract = import_module("mm1.curation.html").extract
    dropped: Any = import_module("mm1.curation.page").Dropped

    def read(page: bytes) -> object:
        try:
            return extract(page, URL)
        except dropped:
            return None

    return read


def _resiliparse() -> Extractor:
    plain = import_module("resiliparse.extract.html2text").extract_plain_text
    tree = import_module("resiliparse.parse.html").HTMLTree
    return lambda page: plain(tree.parse_from_bytes(page), main_content=True, alt_texts=True)


def _trafilatura() -> Extractor:
    text_of = import_module("trafilatura").extract
    return lambda page: text_of(page, include_images=True)


def _trafilatura_with_metadata() -> Extractor:
    text_of = import_module("trafilatura").extract
    return lambda page: text_of(page, include_images=True, with_metadata=True, output_format="json")


EXTRACTORS: Mapping[str, Callable[[], Extractor]] = {
    "mm1": _mm1,
    "resiliparse": _resiliparse,
    "trafilatura": _trafilatura,
    "trafilatura with metadata": _trafilatura_with_metadata,
}
"""By name; each raises ImportError where it is not installed."""


if __name__ == "__main__":
    serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
