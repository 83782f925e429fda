"""Trackers that cannot begin, that fail for a while, and what they are told then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mm1.config import UserError
from mm1.train import tracking as tracking_module
from mm1.train.run import run_stage
from mm1.train.tracking import Tracker, tracking
from tests.train.stand_ins import calls, logged


def lines(*steps: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": step / 2, "time": {"data": step / 4}} for step in steps]


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("track", ["tensorboard", "wandb"])
def test_a_tracker_that_fails_for_a_while_ends_nothing_and_misses_nothing(
    tiny: ModuleType, tmp_path: Path, track: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, method = (
        (sys.modules["torch.utils.tensorboard"].SummaryWriter, "add_scalar")
        if track == "tensorboard"
        else (sys.modules["wandb"].Run, "log")
    )
    real, said = getattr(writer, method), []

    def refused(self: Any, *arguments: Any, **options: Any) -> None:
        step = options.get("step") or arguments[-1]
        if step in (2, 3) and step + 2 > len(logged(tmp_path)):
            raise OSError(28, "No space left on device")
        real(self, *arguments, **options)

    monkeypatch.setattr(writer, method, refused)
    tokenizer, sources = tiny.world_of(tmp_path.parent)
    config = tiny.stage(log_every=1)
    run_stage(config, tmp_path, sources, tokenizer, name="pretrain", say=said.append, track=track)
    told = calls(tmp_path / ("tensorboard/calls.jsonl" if track == "tensorboard" else "calls.jsonl"))
    steps = [
        call["step"] for call in told if (call.get("name") == "loss" if track == "tensorboard" else "step" in call)
    ]
    assert steps == [1, 2, 3, 4, 5, 6]
    about = [line for line in said if "told the log" in line]
    assert len(about) == 2
    assert (
        about[0]
        == f"{track} could not be told the log (No space left on device): training goes on, and it is tried again"
    )
    assert about[1] == f"{track} is told the log again"
    assert len(logged(tmp_path)) == 6


@pytest.mark.usefixtures("stand_ins")
def test_tensorboard_shows_a_line_at_once_and_a_line_that_failed_half_way_once(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, failures = sys.modules["torch.utils.tensorboard"].SummaryWriter, [2, 2]
    real = writer.add_scalar

    def add_scalar(self: Any, name: str, value: float, step: int) -> None:
        if name == "time/data" and step in failures:
            failures.remove(step)
            raise RuntimeError("queue.Full")
        real(self, name, value, step)

    monkeypatch.setattr(writer, "add_scalar", add_scalar)
    with tracking("tensorboard", tmp_path, "x", tiny.stage(), 0, say=lambda line: None) as track:
        for line in lines(1, 2, 3, 4):
            track(line)
    told = [next(iter(call.items())) for call in calls(tmp_path / "tensorboard" / "calls.jsonl")]
    loss, data, flush = ("name", "loss"), ("name", "time/data"), ("flush", True)
    broken = [("close", True), ("purge_step", 2)]
    assert told == [
        ("purge_step", 1),
        *[loss, data, flush],
        *[loss, *broken],
        *[loss, *broken],
        *[loss, data, flush] * 3,
        ("close", True),
    ]


@pytest.mark.usefixtures("stand_ins")
def test_of_what_a_tracker_missed_the_newest_lines_are_kept(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "REMEMBERED", 3)
    run_of = sys.modules["wandb"].Run
    real = run_of.log
    said: list[str] = []
    with tracking("wandb", tmp_path, "x", tiny.stage(), 0, say=said.append) as track:
        monkeypatch.setattr(run_of, "log", lambda self, scalars, step: 1 / 0)
        for line in lines(1, 2, 3, 4, 5):
            track(line)
        monkeypatch.setattr(run_of, "log", real)
        track(lines(6)[0])
    assert [call["step"] for call in calls(tmp_path / "calls.jsonl") if "step" in call] == [4, 5, 6]
    assert said == [
        "wandb could not be told the log (division by zero): training goes on, and it is tried again",
        "wandb is told the log again",
    ]


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_only_the_rank_that_leads_begins_a_tracker(tiny: ModuleType, tmp_path: Path, tracker: Tracker) -> None:
    with tracking(tracker, tmp_path, "x", tiny.stage(), 0, leads=False) as track:
        track(lines(1)[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("stand_ins")
def test_wandb_takes_its_project_from_its_own_variable(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "few-shot")
    with tracking("wandb", tmp_path, "x", tiny.stage(), 0):
        pass
    assert calls(tmp_path / "calls.jsonl")[0]["init"]["project"] == "few-shot"


@pytest.mark.usefixtures("stand_ins")
def test_whatever_keeps_a_tracker_from_beginning_is_one_sentence(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, *arguments: Any, **options: Any) -> None:
        raise AttributeError("no such name in this version")

    monkeypatch.setattr(sys.modules["torch.utils.tensorboard"].SummaryWriter, "__init__", refuse)
    sentence = r"^tensorboard could not begin \(AttributeError: no such name .*\): repair it, or leave --track out$"
    with (
        pytest.raises(UserError, match=sentence),
        tracking("tensorboard", tmp_path, "x", tiny.stage(), 0),
    ):
        pass


RANKS = """
import os, sys
sys.path.insert(0, os.getcwd())
from pathlib import Path
from tests.train import tiny
from tests.train import stand_ins
from mm1.distributed.mesh import joined
from mm1.train.run import run_stage

folder, when = Path(sys.argv[1]), sys.argv[2]
wandb = stand_ins.modules()["wandb"]
sys.modules["wandb"] = wandb

def fails(*arguments, **options):
    raise ConnectionError("the server is gone")

if when == "at once":
    wandb.init = fails
else:
    wandb.Run.log = wandb.Run.finish = fails

def work():
    with joined("cpu") as world, world.telling_once():
        tokenizer, sources = tiny.world_of(folder)
        run_stage(tiny.stage(steps=4, log_every=1), folder, sources, tokenizer, track="wandb")

print(tiny.exit_codes(tiny.fork_ranks(2, work)))
"""


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_tracker_that_fails_on_the_first_rank_leaves_no_rank_waiting(
    tiny: ModuleType, tmp_path: Path, when: str
) -> None:
    tiny.world_of(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, "-c", RANKS, str(tmp_path), when],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    if when == "at once":
        assert done.stdout.count("wandb could not begin (ConnectionError: the server is gone)") == 1, done.stdout
        assert sorted(done.stdout.splitlines()[-1]) == sorted("[1, 2]"), done.stdout
    else:
        assert done.stdout.splitlines()[-1] == "[0, 0]", done.stdout
        assert done.stdout.count("wandb could not be told the log (the server is gone)") == 1, done.stdout
        assert len(logged(tmp_path)) == 4
        assert (tmp_path / "model.safetensors").exists()
