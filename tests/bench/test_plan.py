"""A plan's cost is measured on lengths by formula; what is reckoned says so, and the steps looked up are there."""

import json

import pytest

from mm1.bench import plan
from mm1.bench.plan import LATE_STEP, PlanBenchConfig, bench_plan
from mm1.bench.plan_curve import write_curve
from mm1.bench.simulated import NUM_IMAGE_TOKENS, simulated_data, simulated_sources
from mm1.cli import main


def test_small_plans_are_counted_and_large_ones_reckoned():
    small, large = bench_plan(
        PlanBenchConfig(documents=(10**8, 2000), counted=1500, repetitions=1, rows=8), say=lambda line: None
    )
    assert (small.documents, small.reckoned) == (2000, False)
    assert (large.documents, large.reckoned) == (10**8, True)
    assert large.counting_seconds > small.counting_seconds
    # A block of documents leaves three numbers.
    assert large.plan_bytes == pytest.approx(10**8 / 2048 * 3 * 8, rel=0.01)
    assert large.file_bytes == pytest.approx(large.plan_bytes, rel=0.01)


def test_late_steps_are_looked_up_in_blocks_that_are_there():
    """Though the counts of most blocks are supposed, every pack found is a real one."""
    sources = simulated_sources(10**7)
    made = plan.build_plan(simulated_data(16), sources, NUM_IMAGE_TOKENS)
    for stream in made.streams.values():
        stream.count(1)
        stream.restore(plan._supposed(stream))
    for step in (0, 1000, LATE_STEP):
        for row in made.rows(step):
            assert 0 < sum(len(unit) for unit in row) <= 4096


def test_the_command_prints_a_line_a_size_and_writes_the_figures(tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert main(["bench", "plan", "--counted", "2000", "--repetitions", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1,000,000,000" in printed
    assert "~" in printed
    written = json.loads(out.read_text())
    assert [size["documents"] for size in written["sizes"]] == [10**n for n in range(5, 10)]


def test_processes_count_what_one_counts(monkeypatch):
    monkeypatch.setattr(plan, "TASK_BLOCKS", 3)
    counts = []
    for processes in (1, 2):
        made = plan.build_plan(simulated_data(8), simulated_sources(10**5), NUM_IMAGE_TOKENS)
        config = PlanBenchConfig(counted=20_000, processes=processes)
        assert all(seconds > 0 for seconds in plan._count(made, config).values())
        counts.append({name: stream.counts.tolist() for name, stream in made.streams.items()})
    assert counts[0] == counts[1]
    assert {name: len(rows[0]) - 1 for name, rows in counts[0].items()} == {"captions": 10, "pages": 10, "text": 5}


def test_the_curve_is_the_same_file_for_the_same_figures(tmp_path):
    figures = bench_plan(PlanBenchConfig(documents=(1000, 2000), counted=500, repetitions=1), say=lambda line: None)
    for name in ("a.svg", "b.svg"):
        write_curve(figures, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    for word in ("counting once", "finding a step", "step 10⁶", "documents"):
        assert word in drawn
