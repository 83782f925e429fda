"""What trackers are told of stages: with packages made up, and with the real ones where they are installed."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mm1.config import UserError
from mm1.train.checkpoints import Interrupted
from mm1.train.run import run_stage
from mm1.train.tracking import Tracker, scalars, tracking
from tests.train.stand_ins import calls, logged


def run(tiny: ModuleType, folder: Path, track: Tracker | None, hooks: Sequence[Any] = (), **changes: Any) -> None:
    folder.mkdir(exist_ok=True)
    tokenizer, sources = tiny.world_of(folder.parent)
    config = tiny.stage(log_every=1, **changes)
    run_stage(config, folder, sources, tokenizer, name="pretrain", hooks=hooks, say=lambda line: None, track=track)


class DieAt:
    """A hook that is what a crash is to files: an error after a step, with no checkpoint of it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, info: Any) -> None:
        if info.step == self.step:
            raise ZeroDivisionError


def test_numbers_come_with_the_names_of_what_they_stand_in() -> None:
    record = {"step": 4, "loss": 1, "mfu": None, "time": {"data": 0.5, "of": {"x": 2}}, "note": "no number"}
    assert scalars(record) == {"loss": 1.0, "time/data": 0.5, "time/of/x": 2.0}


@pytest.mark.usefixtures("stand_ins")
def test_wandb_is_told_every_step_once_though_some_are_done_twice(tiny: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        run(tiny, folder, "wandb", [DieAt(5)])
    run(tiny, folder, "wandb")
    told = calls(folder / "calls.jsonl")
    begun = [call["init"] for call in told if "init" in call]
    assert len(begun) == 2
    assert begun[0]["id"] == begun[1]["id"]
    assert begun[0]["resume"] == "allow"
    assert (begun[0]["name"], begun[0]["project"], begun[0]["config"]["steps"]) == ("pretrain", "mm1", 6)
    assert [call["step"] for call in told if "step" in call] == [1, 2, 3, 4, 5, 6]
    assert [call["finish"] for call in told if "finish" in call] == [1, 0]
    last = next(call["scalars"] for call in told if call.get("step") == 6)
    assert last == scalars(logged(folder)[-1])
    assert {"loss", "loss_by_source/text", "flops/decoder", "time/data"} <= set(last)


@pytest.mark.usefixtures("stand_ins")
def test_tensorboard_forgets_what_came_after_the_checkpoint(tiny: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run(tiny, folder, "tensorboard", [tiny.SignalAt(3, signal.SIGTERM)])
    run(tiny, folder, "tensorboard")
    told = calls(folder / "tensorboard" / "calls.jsonl")
    assert [call["purge_step"] for call in told if "purge_step" in call] == [1, 4]
    assert sum("close" in call for call in told) == 2
    losses = {call["step"]: call["value"] for call in told if call.get("name") == "loss"}
    assert losses == {record["step"]: record["loss"] for record in logged(folder)}
    assert len(losses) == 6


@pytest.mark.usefixtures("stand_ins")
def test_a_stage_begun_without_tracking_goes_on_with_it(tiny: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "run", None, [tiny.SignalAt(3, signal.SIGTERM)])
    run(tiny, tmp_path / "run", "wandb")
    assert [call["step"] for call in calls(tmp_path / "run/calls.jsonl") if "step" in call] == [4, 5, 6]


@pytest.mark.usefixtures("stand_ins")
def test_weights_are_the_same(tiny: ModuleType, tmp_path: Path) -> None:
    for name, track in (("plain", None), ("tracked", "tensorboard")):
        run(tiny, tmp_path / name, track, steps=2)  # type: ignore[arg-type]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "tracked")]
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("stand_ins")
def test_wandb_that_cannot_begin_and_a_torn_id_are_told_in_a_sentence(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(UserError, match=r"wandb\.json is no JSON: delete it"),
        tracking("wandb", folder_with(tmp_path, '{"id": "ab'), "x", tiny.stage(), 0),
    ):
        pass
    (tmp_path / "wandb.json").unlink()
    monkeypatch.delenv("WANDB_MODE")
    with (
        pytest.raises(UserError, match=r"api_key not configured.*`wandb login`, or set WANDB_MODE=offline"),
        tracking("wandb", tmp_path, "x", tiny.stage(), 0),
    ):
        pass


def folder_with(folder: Path, text: str) -> Path:
    (folder / "wandb.json").write_text(text)
    return folder


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_before_anything_is_done(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: Tracker
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    sentence = rf"--track {tracker} needs {tracker}, which is not installed: pip install 'mm1\[track\]'"
    with pytest.raises(UserError, match=sentence):
        run(tiny, tmp_path / "run", tracker)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_real_tensorboard_shows_every_step_once(tiny: ModuleType, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        run(tiny, folder, "tensorboard", [DieAt(5)])
    run(tiny, folder, "tensorboard")
    shown = EventAccumulator(str(folder / "tensorboard"))
    shown.Reload()
    losses = {event.step: event.value for event in shown.Scalars("loss")}
    assert [event.step for event in shown.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert losses == pytest.approx({record["step"]: record["loss"] for record in logged(folder)})


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_real_wandb_keeps_a_run_offline(tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run(tiny, tmp_path / "run", "wandb", steps=2)
    run_id = json.loads((tmp_path / "run/wandb.json").read_text())
    assert run_id["step"] == 2
    (kept,) = (tmp_path / "run" / "wandb").glob(f"offline-run-*-{run_id['id']}")
    assert list(kept.glob("*.wandb"))
