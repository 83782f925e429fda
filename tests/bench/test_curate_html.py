"""The figures of extraction, on the shipped pages."""

import sys
from pathlib import Path

import pytest

from mm1.bench.curate_html import measure_html, quality

PAGES = Path(__file__).parents[1] / "curation" / "pages"


def test_rates_and_ratios_are_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 2.0, 5.0, 5.0, 6.0])
    monkeypatch.setattr("mm1.bench.curate_html.time.process_time", lambda: next(clock))
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    monkeypatch.setitem(sys.modules, "resiliparse.extract.html2text", None)
    figures = measure_html([b"<p>one", b"\x00no page"], 3)
    assert figures["cpu_seconds"] == {"mm1": [2.0, 3.0, 1.0]}
    assert figures["pages_per_cpu_second"] == {"mm1": 1.0}
    assert (figures["pages"], figures["bytes"], figures["ratios"]) == (2, 14, {})


def test_every_extractor_in_turn() -> None:
    figures = measure_html([path.read_bytes() for path in sorted(PAGES.rglob("*.html"))[:2]], 2)
    assert all(len(each) == 2 for each in figures["cpu_seconds"].values())
    assert set(figures["ratios"]) == set(figures["cpu_seconds"]) - {"mm1"}


def test_quality_counts_words_and_images() -> None:
    page = b"<main>one two <img src=a.png><img src=b.png hidden></main>"
    good = quality([(page, "main"), (page, "article"), (b"<main></main>", "main")])
    assert (good.pages, good.f1, good.images, good.images_found, good.recall) == (1, 1.0, 2, 1, 0.5)
    assert quality([(b"<main>one two three four</main><p>five", "p")]).f1 == 0.0


@pytest.mark.parametrize(("folder", "selector"), [("scikit-image", "[role=main]"), ("opencv", "div.contents")])
def test_quality_of_the_shipped_pages(folder: str, selector: str) -> None:
    found = quality((path.read_bytes(), selector) for path in (PAGES / folder).rglob("*.html"))
    assert found.pages == 5
    assert found.f1 >= 0.9
    assert found.recall == 1.0
