"""What is torn or strange in a run folder becomes a note."""

from __future__ import annotations

import json
from pathlib import Path

from mm1.chain.page.results import read_run

RESULT = {"task": "naming", "shots": 0, "score": 0.5}


def test_logged_lines_that_are_no_steps_are_counted_and_left_out(tmp_path: Path) -> None:
    others = [3, None, [], "x", {"loss": 1}, {"step": "4"}, {"step": None}, {"step": 5, "loss_by_source": 3}]
    (tmp_path / "sft").mkdir()
    lines = [json.dumps(line) for line in [{"step": 1}, *others, {"step": 2, "loss": "?"}]]
    (tmp_path / "sft/metrics.jsonl").write_text("\n".join(lines))
    (stage,) = read_run(tmp_path).stages
    assert [row["step"] for row in stage.metrics] == [1, 2]
    assert stage.notes == (f"{len(others)} line(s) of metrics.jsonl cannot be read (a torn write?) and are left out",)


def test_results_that_are_no_scores_are_named_and_left_out(tmp_path: Path) -> None:
    strange = [[], 3, {}, {**RESULT, "task": []}, {**RESULT, "shots": "4"}, {**RESULT, "score": None}]
    strange += [{**RESULT, "by_kind": 3}, {**RESULT, "by_kind": {"a": 3}}, {**RESULT, "n": "many"}]
    for folder in ("eval", "eval/blind"):
        (tmp_path / folder).mkdir()
        for number, values in enumerate([RESULT, *strange]):
            (tmp_path / folder / f"{number}shot.json").write_text(json.dumps(values))
    run = read_run(tmp_path)
    assert [(score.task, score.blind) for score in run.scores] == [("naming", 0.5)]
    for number in range(1, len(strange) + 1):
        assert sum(f"eval/{number}shot.json" in note or f"blind/{number}shot.json" in note for note in run.notes) == 2
