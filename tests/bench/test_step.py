from __future__ import annotations

import pytest

from mm1.bench import step
from mm1.config import UserError
from mm1.train.costs import parameters
from tests.train.tiny import stage


def test_shapes_cover_connectors_experts_and_sizes() -> None:
    found = step.stages()
    kinds = {one.model.connector.kind for one in found.values() if one.model.connector}
    assert kinds == {"avg_pool", "attention_pool", "c_abstractor"}
    sizes = sorted(parameters(one)["total"] for one in found.values())
    assert sizes[0] < 2e6
    assert 40e6 < sizes[-1] < 70e6


def test_an_unknown_shape_is_one_sentence() -> None:
    with pytest.raises(UserError, match="'huge'"):
        step.bench_step(step.StepBenchConfig(shapes=("huge",)), say=str)


def test_rows_are_compared_with_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"memory": 2e9, "time": 0.5}
    monkeypatch.setattr(step, "_in_process", lambda stage, what, steps: measured[what])
    monkeypatch.setattr(step, "stages", lambda: {"tiny": stage("mm1")})
    said: list[str] = []
    (row,) = step.bench_step(step.StepBenchConfig(shapes=("tiny",)), said.append)
    assert row.memory_error == row.planned_bytes / 2e9 - 1
    assert row.time_error == row.planned_seconds / 0.5 - 1
    assert len(said) == 3
    assert step.to_values([row])["shapes"]["tiny"]["bytes"] == 2e9
    assert "Memory within 10% for 0 of 1" in step.lines([row])[0]
    assert step.table([row]).row_count == 1


def test_a_process_grows_by_at_least_its_weights() -> None:
    tiny = stage("mm1")
    assert step._in_process(tiny, "memory", 1) > 4 * parameters(tiny)["total"]
