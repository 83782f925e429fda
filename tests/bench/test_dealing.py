"""`mm1 bench dealing` tells what the dearest rank computes over what documents need, dealt in each way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mm1.bench.dealing import DealingBenchConfig, bench_dealing
from mm1.cli import main


def test_documents_leave_less_to_wait_for_than_rows() -> None:
    config = DealingBenchConfig(recipes=("mm1-3b",), ranks=(8, 512), rows_at_once=(1, 3), repetitions=2)
    some, all_ = bench_dealing(config, say=lambda line: None)
    assert (some.ranks, some.rows_at_once, all_.ranks) == (8, 1, 512)
    assert 1 <= some.documents < 1.01 < some.rows_by_cost < some.rows_in_turn < 1.4
    # A row a rank: whole, they leave nothing to choose.
    assert all_.rows_by_cost == pytest.approx(all_.rows_in_turn)
    assert all_.documents < all_.rows_by_cost


def test_one_rank_waits_for_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    (alone,) = bench_dealing(
        DealingBenchConfig(recipes=("mm1-3b",), ranks=(1,), rows_at_once=(512,), repetitions=1), lambda line: None
    )
    assert alone.documents == pytest.approx(1)
    # A seventh of the decoder's positions are padding in this mixture.
    assert alone.rows_in_turn == alone.rows_by_cost > 1.05


def test_the_command_prints_a_case_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    words = ["--recipes", "tiny", "--ranks", "2", "--rows-at-once", "1,2", "--repetitions", "1", "--out", str(out)]
    assert main(["bench", "dealing", *words]) == 0
    cases = json.loads(out.read_text())["cases"]
    assert [case["rows_at_once"] for case in cases] == [1, 2]
    assert f"{cases[0]['documents']:.3f}" in capsys.readouterr().out


def test_rows_that_nobody_can_be_dealt_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "dealing", "--recipes", "tiny", "--ranks", "7"]) == 2
    assert "tiny has steps of 4 rows" in capsys.readouterr().err
