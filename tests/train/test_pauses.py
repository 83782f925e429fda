"""Every reason for which training stands still, for more than a second of a clock made up here."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mm1.distributed import saver as saver_module
from mm1.distributed.checkpoint import Keep, latest, save
from mm1.distributed.saver import Saver
from mm1.train import checkpoints as checkpoints_module
from mm1.train.checkpoints import Checkpoints, StopSignal
from mm1.train.loop import StepInfo
from mm1.train.pauses import Pauses
from mm1.train.state import COUNTED, Clock, Tally, TrainState


def info(state: Any, step: int) -> StepInfo:
    return StepInfo(state=state, step=step, steps=9, learning_rate=0.1, grad_norm=torch.zeros(()))


def said_of_waits(*waits: float) -> tuple[list[str], float]:
    """What is said of waits for data, a step each, and the seconds that the log is told of."""
    clock = Clock({"data": 5.0})
    state: Any = SimpleNamespace(tally=Tally(), clock=clock)
    said: list[str] = []
    hook = Pauses(5.0, said.append)
    for step, waited in enumerate(waits, start=1):
        clock.seconds["data"] += waited
        hook.on_step(info(state, step))
    return said, float(state.tally._host[COUNTED.index("data_pauses")])


def test_long_waits_for_data_are_counted_all_and_explained_once() -> None:
    said, counted = said_of_waits(0.5, 2.5, 0.75, 4.0)
    assert said == [
        "step 2 waited 2.5 s for data: the first wait of a start is for its processes to begin; if more follow, raise "
        "num_workers or put the shards on faster storage"
    ]
    assert counted == 6.5


def test_a_second_is_no_pause_and_many_short_waits_are_none() -> None:
    assert said_of_waits(1.0, 1.0, 0.75, 1.0) == ([], 0.0)
    said, counted = said_of_waits(1.0, 1.125)
    assert (len(said), counted) == (1, 1.125)


class Made:
    """A saver whose checkpoints take as long to copy and to write as it is told, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, copying: float = 0.0, writing: float = 0.0) -> None:
        self.now, self.copying, self.writing = 0.0, copying, writing
        self.step, self.is_busy, self.is_in_flight = 0, False, False
        self.said: list[str] = []
        monkeypatch.setattr(checkpoints_module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def begin(self, step: int, tensors: Any, values: Any) -> None:
        self.now += self.copying
        self.step, self.is_busy, self.is_in_flight = step, self.writing > 0, True

    def wait(self) -> bool:
        was, self.is_in_flight = self.is_in_flight, False
        self.now += self.writing if was and self.is_busy else 0.0
        self.is_busy = False
        return was

    def train(self, *steps: int) -> list[str]:
        saver: Any = self
        hook = Checkpoints(
            saver, every=2, agree_every=2, stop=StopSignal(), device=torch.device("cpu"), say=self.said.append
        )
        state: Any = SimpleNamespace(values=dict, tensors=dict, clock=Clock())
        for step in steps:
            hook.on_step(info(state, step))
        return self.said


def test_each_long_copy_of_a_checkpoint_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Made(monkeypatch, copying=1.5).train(1, 2, 3, 4) == [
        f"step {step} stood still for 1.5 s while its checkpoint was copied to memory" for step in (2, 4)
    ]
    assert Made(monkeypatch, copying=1.0).train(1, 2, 3, 4) == []


def test_each_long_wait_for_the_checkpoint_before_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Made(monkeypatch, writing=7.0).train(*range(1, 10)) == [
        f"step {step} waited 7 s until the checkpoint of step {before} was written: raise checkpoint_every, or write "
        "to faster storage"
        for step, before in ((4, 2), (6, 4), (8, 6), (9, 8))
    ]
    assert Made(monkeypatch, writing=1.0).train(*range(1, 10)) == []


def test_a_checkpoint_that_was_written_meanwhile_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, writing=7.0)
    made.train(1, 2)
    made.is_busy = False
    assert made.train(3, 4) == []


def test_one_checkpoint_is_in_flight_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk: a second one is refused until the first has been waited for, which training does."""
    go, at_once, most = threading.Event(), [0], [0]

    def slow(*arguments: Any) -> Path:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        assert go.wait(60)
        path = save(*arguments)
        at_once[0] -= 1
        return path

    monkeypatch.setattr(saver_module, "save", slow)
    optimizers: Any = SimpleNamespace(parameters=[torch.zeros(2)], tensors=dict)
    state = TrainState(torch.nn.Linear(2, 2), optimizers)
    with Saver(tmp_path, Keep()) as saver:
        saver.begin(1, {"weight": torch.zeros(2)}, {})
        busy = saver.is_busy
        try:
            with pytest.raises(AssertionError, match="a checkpoint is in flight"):
                saver.begin(2, {"weight": torch.zeros(2)}, {})
        finally:
            threading.Timer(0.05, go.set).start()  # while the next step waits for it
        hook = Checkpoints(
            saver, every=1, agree_every=1, stop=StopSignal(), device=torch.device("cpu"), say=lambda line: None
        )
        for step in (3, 4, 5):
            hook.on_step(info(state, step))
    assert busy
    assert most == [1]
    found = latest(tmp_path, print)
    assert found is not None
    assert found.step == 5
