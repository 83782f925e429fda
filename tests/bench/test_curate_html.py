"""The figures of extraction, on the shipped pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from mm1.bench import curate_html
from mm1.bench.curate_html import quality
from mm1.config import UserError

PAGES = Path(__file__).parents[1] / "curation" / "pages"


class _Scripted:
    """In a child's place: takes the seconds that it is told."""

    order: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = iter({"mm1": [9.0, 2.0, 3.0, 1.0], "trafilatura": [99.0, 40.0, 60.0, 50.0]}.get(name, []))

    def __enter__(self) -> "_Scripted":
        return self

    def __exit__(self, *_: object) -> None: ...

    def take(self, pages: Sequence[bytes]) -> bool:
        return self.name in ("mm1", "trafilatura")

    def read_all(self) -> float:
        self.order.append(self.name)
        return next(self.seconds)


def test_rates_and_ratios_are_of_medians_without_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curate_html, "_Child", _Scripted)
    figures = curate_html.measure_html([b"<p>one", b"\x00no page"], 3)
    assert figures["cpu_seconds"] == {"mm1": [2.0, 3.0, 1.0], "trafilatura": [40.0, 60.0, 50.0]}
    assert figures["pages_per_cpu_second"] == {"mm1": 1.0, "trafilatura": 0.04}
    assert (figures["pages"], figures["bytes"], figures["ratios"]) == (2, 14, {"trafilatura": 25.0})
    assert _Scripted.order == ["mm1", "trafilatura", "trafilatura", "mm1"] * 2


def test_each_extractor_has_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that works, one that can not be imported."""
    (tmp_path / "trafilatura.py").write_text(
        "import sys\nassert 'mm1.curation' not in sys.modules\ndef extract(page, **_): return len(page)\n"
    )
    (tmp_path / "resiliparse.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    figures = curate_html.measure_html([path.read_bytes() for path in sorted(PAGES.rglob("*.html"))[:2]], 2)
    assert set(figures["cpu_seconds"]) == {"mm1", "trafilatura", "trafilatura with metadata"}
    assert all(len(each) == 2 and min(each) > 0 for each in figures["cpu_seconds"].values())
    assert set(figures["ratios"]) == {"trafilatura", "trafilatura with metadata"}


def test_a_process_that_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trafilatura.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="the process of trafilatura"):
        curate_html.measure_html([b"<p>one"], 1)


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
