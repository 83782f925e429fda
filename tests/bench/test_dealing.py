"""`mm1 bench dealing` tells how much the dearest rank has above the mean, dealt either way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mm1.bench.dealing import DealingBenchConfig, _slowest, bench_dealing
from mm1.cli import main


def test_the_dearest_rank_of_each_microbatch_counts() -> None:
    costs = np.array([4.0, 1.0, 3.0, 2.0])
    # Two ranks, a row at once: first 4 beside 1, then 3 beside 2; in one microbatch 4 + 1 beside 3 + 2.
    assert _slowest(costs, np.array([[0, 2], [1, 3]]), rows=1) == 2 * (4 + 3)
    assert _slowest(costs, np.array([[0, 1], [2, 3]]), rows=2) == 2 * 5


def test_dealt_by_cost_ranks_wait_less() -> None:
    config = DealingBenchConfig(recipes=("mm1-3b",), ranks=(8, 512), rows_at_once=(1, 3), repetitions=2)
    some, all_ = bench_dealing(config, say=lambda line: None)
    assert (some.ranks, some.rows_at_once, all_.ranks) == (8, 1, 512)
    assert 1 <= some.by_cost < 1.01 < some.padded_by_cost < some.padded_in_turn
    assert some.by_cost < some.in_turn
    # A row a rank: there is nothing to choose.
    assert all_.by_cost == pytest.approx(all_.in_turn)


def test_the_command_prints_a_case_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    words = ["--recipes", "tiny", "--ranks", "2", "--rows-at-once", "1,2", "--repetitions", "1", "--out", str(out)]
    assert main(["bench", "dealing", *words]) == 0
    cases = json.loads(out.read_text())["cases"]
    assert [case["rows_at_once"] for case in cases] == [1, 2]
    assert f"{cases[0]['by_cost']:.3f}" in capsys.readouterr().out


def test_rows_that_nobody_can_be_dealt_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "dealing", "--recipes", "tiny", "--ranks", "7"]) == 2
    assert "tiny has steps of 4 rows" in capsys.readouterr().err
