"""`mm1 bench curate` measures the pipeline as it is, and the pipeline's memory does not grow with its input."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mm1.bench import curate
from mm1.bench.curate import CurateBenchConfig, bench_curate
from mm1.bench.curate_run import measured_apart
from mm1.config import UserError, override
from mm1.curation.config import PROFILES
from tests.curation.site import page, picture, write_site

LET_PASS = 8 << 20


def site(folder: Path, pages: int, more: Callable[[int], str] = lambda number: "") -> Path:
    images = [f'<img src="{n}.png" alt="A picture of number {n}">' for n in range(pages)]
    texts = {f"{n:04}.html": page(n, [image, more(n)]) for n, image in enumerate(images)}
    return write_site(folder, texts, {f"{n}.png": picture(n, 480, 360) for n in range(pages)})


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> curate.CurateFigures:
    config = CurateBenchConfig(
        sources=(site(tmp_path_factory.mktemp("bench") / "site", 8),), repetitions=1, part_files=2
    )
    return bench_curate(config, say=lambda line: None)


def test_every_step_is_measured_for_a_quarter_and_for_all(figures: curate.CurateFigures) -> None:
    assert (figures.quarter.pages, figures.whole.pages) == (2, 8)
    steps = ["extract", "texts", "duplicates", "addresses", "images", "interleaved", "captions"]
    assert list(figures.whole.steps) == steps
    assert all(cost.cpu_seconds > 0 and cost.bytes > 0 for cost in figures.whole.steps.values())
    assert figures.whole.peak.anonymous > 50 << 20
    assert figures.whole.peak.file > 20 << 20
    assert figures.whole.peak.anonymous >= max(cost.peak.anonymous for cost in figures.whole.steps.values())
    assert {step.counts.kept for step in figures.whole.funnel.steps if step.unit == "page"} == {8}


def test_what_is_shown_says_what_150_billion_pages_would_take(figures: curate.CurateFigures) -> None:
    _, pipeline = curate.tables(figures)
    assert pipeline.row_count == 8
    hours = float(list(pipeline.columns[6].cells)[-1].replace(",", ""))
    seconds = sum(cost.cpu_seconds for cost in figures.whole.steps.values())
    assert hours == pytest.approx(seconds / 8 * 150e9 / 3600, rel=1e-3)
    assert any("for 2 pages" in line and "for 8" in line for line in curate.lines(figures))
    assert set(curate.to_json(figures)) == {"html", "quarter", "whole"}


def test_sources_without_pages_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("https://a.example/a.png\nhttps://a.example/b.png\n")
    with pytest.raises(UserError, match="hold no page"):
        bench_curate(CurateBenchConfig(sources=(tmp_path / "images.txt",)), say=lambda line: None)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # ten seconds of work, which a busy machine may take an hour for
def test_four_times_the_input_takes_no_more_memory(tmp_path: Path) -> None:
    """Of 40 and 160 pages: what the others hold, 100 kB of HTML and as much of pictures each, is 12 MB of either."""
    folder = site(tmp_path / "site", 160, more=lambda n: f"<!-- {n} {'x' * 100_000} -->")
    config = override(PROFILES["mm1"], ["download=false", "sources.part_files=10", "pictures_a_part=10"])
    few, many = (measured_apart([folder], config, share, memory=16 << 20) for share in (0.25, 1.0))
    assert (few.pages, many.pages) == (40, 160)
    assert many.peak.anonymous - few.peak.anonymous < LET_PASS
