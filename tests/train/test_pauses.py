from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from mm1.train.loop import StepInfo
from mm1.train.pauses import Pauses
from mm1.train.state import COUNTED, Clock, Tally


def test_long_waits_are_counted_all_and_explained_once() -> None:
    clock = Clock({"data": 5.0})
    state: Any = SimpleNamespace(tally=Tally(), clock=clock)
    said: list[str] = []
    hook = Pauses(5.0, said.append)
    for step, waited in enumerate([0.5, 2.5, 0.9, 4.0], start=1):
        clock.seconds["data"] += waited
        hook.on_step(StepInfo(state=state, step=step, steps=9, learning_rate=0.1, grad_norm=torch.zeros(())))
    assert len(said) == 1
    assert said[0].startswith("step 2 waited 2.5 s for data: ")
    assert "num_workers" in said[0]
    assert state.tally._host[COUNTED.index("data_pauses")] == 6.5
