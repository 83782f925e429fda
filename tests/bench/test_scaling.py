from __future__ import annotations

import json
from collections import defaultdict

import pytest

from mm1.bench import ranks, scaling
from mm1.bench.start import STEP, Start
from mm1.config import UserError
from mm1.train.progress import Lines


def test_a_rank_waits_for_bytes_or_for_a_slower_rank() -> None:
    slow, fast = [1.0, 0.7, 0.1, 0.05], [1.0, 0.4, 0.0, 0.05]  # seconds, computed, in line, other threads
    found = scaling.shares({"tokens": 800.0, "ranks": [[slow, slow], [fast, fast]]}, apart=500)
    assert found.processes == 2
    assert found.tokens_per_second == pytest.approx(400)
    assert found.computed == pytest.approx(0.55)
    assert found.queued == pytest.approx(0.05)
    assert found.communicating == pytest.approx(0.2), "as long as the rank that everybody waits for"
    assert found.idle == pytest.approx(0.2), "the fast rank's 0.6, less 0.2, shared by two"
    parts = found.computed + found.queued + found.communicating + found.idle
    assert parts == pytest.approx(found.seconds)


def test_who_is_slow_may_change_from_step_to_step() -> None:
    slow, fast = [1.0, 1.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0]
    found = scaling.shares({"tokens": 1.0, "ranks": [[slow, fast], [fast, slow]]}, apart=1)
    assert found.communicating == pytest.approx(0.0)
    assert found.idle == pytest.approx(0.25)


def measured(processes: int, speed: float) -> scaling.Shares:
    rows = [[[1.0, 1.0, 0.0, 0.0]]] * processes
    return scaling.shares({"tokens": speed, "ranks": rows}, apart=200)


def test_efficiency_is_speed_a_process() -> None:
    one, two = measured(1, 100.0), measured(2, 150.0)
    assert scaling.efficiency(one, two) == pytest.approx(0.75)
    shown = scaling.Scaling(
        rows=1, steps=1, shares=[one, two], starts=[Start(processes=n, first=1, resumed=2) for n in (1, 2)], load=0.0
    )
    weak, start = scaling.table(shown)
    assert list(weak.columns[2].cells)[:3] == ["150", "75%", "75%"]
    assert list(weak.columns[1].cells)[:3] == ["100", "100%", "50%"]
    assert list(start.columns[1].cells) == ["1.0", "2.0"]
    assert scaling.to_json(shown)["shares"][1]["processes"] == 2


def test_training_prints_the_lines_by_which_steps_are_told() -> None:
    said: list[str] = []
    record = defaultdict(float, step=5, loss=1.0, seconds=1.0, time={"data": 0.1})
    Lines("pretrain", 20, said.append).show(record, defaultdict(lambda: 1.0))
    found = STEP.match(said[0])
    assert found is not None
    assert found.group(1) == "5"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("ranks") / "shares.json"
    ranks.run(2, "mm1.bench.scaling_rank", [str(path), "2", "1"])
    values: dict[str, object] = json.loads(path.read_text())
    return values


@pytest.mark.slow
def test_two_processes_tell_of_every_step(found: dict[str, object]) -> None:
    one = scaling.shares(found, apart=1)
    assert one.processes == 2
    assert one.tokens_per_second > 0
    assert 0 < one.computed <= one.seconds
    assert one.communicating >= 0
    assert one.idle >= 0


def test_what_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(UserError, match=r"mm1\.nothing"):
        ranks.run(1, "mm1.nothing", [])
