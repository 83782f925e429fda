from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mm1.config import UserError
from mm1.distributed.checkpoint import CheckpointFailed, latest
from mm1.train import checkpoints
from mm1.train import run as stage_run
from mm1.train.checkpoints import Checkpoints, Interrupted, StopSignal
from mm1.train.loop import StepInfo
from mm1.train.run import run_stage
from mm1.train.state import Clock


class FullDisk:
    """A hook: at checkpoints of the steps [first, last) the system refuses to write more than a short file."""

    def __init__(self, first: int, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first, self.last = first, last
        self.usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.saver: Any = None
        self.make_saver = stage_run._saver
        monkeypatch.setattr(stage_run, "_saver", self.keep_saver)

    def keep_saver(self, *arguments: Any) -> Any:
        self.saver = self.make_saver(*arguments)
        return self.saver

    def on_step(self, info: Any) -> None:
        while self.saver.is_busy:  # what was begun before ends as it would have
            time.sleep(0.005)
        self.limit(20_000 if self.first <= info.step < self.last else self.usual[0])

    def limit(self, most: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, self.usual[1]))


def run(tiny: ModuleType, folder: Path, hooks: tuple[Any, ...] = (), **changes: Any) -> list[str]:
    """What a tiny stage says."""
    folder.mkdir(exist_ok=True)
    said: list[str] = []
    tokenizer, sources = tiny.world_of(folder.parent)
    try:
        run_stage(tiny.stage(**changes), folder, sources, tokenizer, hooks=hooks, say=said.append)
    finally:
        for hook in hooks:
            if isinstance(hook, FullDisk):
                hook.limit(hook.usual[0])
    return said


class Noted:
    """A saver that notes what it is asked, and what another rank says at a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ranks: int, told_at: int = 0) -> None:
        self.asked: list[str] = []
        self.step, self.is_busy, self.told_at = 0, True, told_at
        monkeypatch.setattr(checkpoints, "num_ranks", lambda: ranks)
        monkeypatch.setattr(checkpoints, "any_rank", self.agree)

    def agree(self, flag: bool, device: torch.device) -> bool:
        self.asked.append("agree")
        return flag or self.step == self.told_at

    def begin(self, step: int, tensors: Any, values: Any) -> None:
        self.asked.append("begin")

    def wait(self) -> bool:
        self.asked.append("wait")
        return True

    def train(self, last: int, *, every: int, agree_every: int) -> dict[int, list[str]]:
        """What is asked in which step."""
        saver: Any = self
        state: Any = SimpleNamespace(values=dict, tensors=dict, clock=Clock())
        hook = Checkpoints(
            saver, every=every, agree_every=agree_every, stop=StopSignal(), device=torch.device("cpu"), say=print
        )
        asked: dict[int, list[str]] = {}
        for self.step in range(1, last + 1):
            asked[self.step] = self.asked = []
            info = StepInfo(state=state, step=self.step, steps=last, learning_rate=0.1, grad_norm=torch.zeros(()))
            try:
                hook.on_step(info)
            except Interrupted as interrupted:
                self.asked.append(f"exit {interrupted.code} after {interrupted.step}")
                break
        return {step: what for step, what in asked.items() if what}


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[-8:]) for path in (folder / "checkpoints").glob("step-*"))


def test_a_full_disk_leaves_the_run_alive_and_is_told_once(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny, tmp_path / "whole", steps=10)
    said = run(tiny, tmp_path / "full", (FullDisk(3, 8, monkeypatch),), steps=10)
    complaints = [line for line in said if "could not be written" in line]
    assert len(complaints) == 1
    assert "checkpoint of step 4 could not be written" in complaints[0]
    assert "File too large" in complaints[0]
    assert [line for line in said if "written again: that of step 8" in line]
    assert steps(tmp_path / "full") == [2, 8]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "full")]
    assert weights[0] == weights[1]


def test_told_to_stop_on_a_full_disk_it_says_that_nothing_was_saved(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = (FullDisk(5, 9, monkeypatch), tiny.SignalAt(5, signal.SIGTERM))
    with pytest.raises(UserError, match=r"stop after step 5, but its checkpoint could not be written .*too large"):
        run(tiny, tmp_path / "stopped", hooks)
    assert steps(tmp_path / "stopped") == [2, 4]


def test_sigterm_waits_for_what_is_in_flight_and_saves_its_own_step(tiny: ModuleType, tmp_path: Path) -> None:
    """The signal comes in the step after a checkpoint was begun."""
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "stopped", (tiny.SignalAt(5, signal.SIGTERM),))
    assert steps(tmp_path / "stopped") == [4, 5]
    assert latest(tmp_path / "stopped" / "checkpoints", print) is not None


def test_the_config_says_which_checkpoints_stay(tiny: ModuleType, tmp_path: Path) -> None:
    changes = {"steps": 11, "checkpoint_every": 2, "checkpoints_kept": 1, "checkpoints_kept_every": 4}
    run(tiny, tmp_path / "run", **changes)
    assert steps(tmp_path / "run") == [4, 8, 10]
    with pytest.raises(UserError, match="checkpoints_kept_every is 3, and checkpoint_every=2 does not divide it"):
        run(tiny, tmp_path / "run", **{**changes, "checkpoints_kept_every": 3})


def test_a_run_of_four_ranks_goes_on_with_two_eight_and_one(
    tiny: ModuleType, start_each: Callable[..., list[list[int]]], tmp_path: Path
) -> None:
    """The weights are those of one process, to rounding."""
    adamw = {"optimizer": {"kind": "adamw"}, "rows": 8, "steps": 8}
    stops = [(ranks, [[tmp_path / "many", adamw, [step, signal.SIGTERM]]]) for ranks, step in ((4, 2), (2, 4), (8, 6))]
    assert start_each(stops) == [[75] * ranks for ranks, _ in stops]
    assert steps(tmp_path / "many")[-1] == 6
    config = {"optimizer": tiny.OptimizerConfig(kind="adamw"), "rows": 8, "steps": 8}
    said = run(tiny, tmp_path / "many", **config)
    assert any("going on from step 6" in line for line in said)
    run(tiny, tmp_path / "one", **config)
    one, many = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "many"))
    for name, tensor in one.items():
        assert (many[name] - tensor).abs().max() < 1e-4, name
    lines = [json.loads(line) for line in (tmp_path / "many" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]


def test_many_ranks_agree_on_stopping_every_so_many_steps_and_then_save(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another rank was told at step 6: all save that step, wait until it is written, and leave."""
    assert Noted(monkeypatch, ranks=2, told_at=6).train(9, every=100, agree_every=3) == {
        3: ["agree"],
        6: ["agree", "wait", "begin", "wait", "exit 75 after 6"],
    }


def test_one_rank_looks_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Noted(monkeypatch, ranks=1, told_at=2).train(9, every=100, agree_every=3)
    assert asked == {1: ["agree"], 2: ["agree", "wait", "begin", "wait", "exit 75 after 2"]}


def test_the_last_step_waits_for_the_checkpoint_before_and_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Noted(monkeypatch, ranks=2, told_at=4).train(4, every=2, agree_every=4)
    assert asked == {2: ["wait", "begin"], 4: ["wait"]}


def test_a_failure_is_told_at_the_next_step_and_anew_after_one_that_was_written() -> None:
    """Outcomes of what is in flight, by step: nobody waits for the next checkpoint to hear of them."""
    outcomes = {2: CheckpointFailed("full"), 3: CheckpointFailed("full"), 4: True, 5: True, 6: CheckpointFailed("full")}

    def wait() -> bool:
        outcome = outcomes.get(step, False)
        if isinstance(outcome, CheckpointFailed):
            raise outcome
        return outcome

    saver: Any = SimpleNamespace(wait=wait, is_busy=False, step=1)
    said: list[str] = []
    told: list[int] = []
    hook = Checkpoints(saver, every=100, agree_every=1, stop=StopSignal(), device=torch.device("cpu"), say=said.append)
    for step in range(1, 8):
        state: Any = SimpleNamespace(clock=Clock())
        hook.on_step(StepInfo(state=state, step=step, steps=9, learning_rate=0.1, grad_norm=torch.zeros(())))
        told += [step] * (len(said) - len(told))
    assert told == [2, 4, 6]
    assert ["again: that" in line for line in said] == [False, True, False]
