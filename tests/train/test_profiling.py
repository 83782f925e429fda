from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from mm1.train.loop import StepInfo
from mm1.train.profiling import TRACE, Profile
from mm1.train.run import run_stage
from tests.full_disk import room_for


def run(tiny: ModuleType, folder: Path, hooks: list[Any], steps: int) -> None:
    folder.mkdir()
    tokenizer, sources = tiny.world_of(folder.parent)
    run_stage(tiny.stage(steps=steps), folder, sources, tokenizer, hooks=hooks, say=lambda line: None)


def do_steps(hook: Profile, first: int, last: int, steps: int) -> list[bool]:
    """Tells the hook of the steps [first, last] of `steps`; after which of them something was traced."""
    traced = []
    for step in range(first, last + 1):
        state: Any = SimpleNamespace()
        hook.on_step(StepInfo(state=state, step=step, steps=steps, learning_rate=0.1, grad_norm=torch.zeros(())))
        traced.append(torch.autograd._profiler_enabled())
    return traced


@pytest.mark.parametrize(("steps", "traced"), [(6, 2), (3, 1)])
def test_a_few_steps_are_traced_and_weights_are_the_same(
    tiny: ModuleType, tmp_path: Path, steps: int, traced: int
) -> None:
    said: list[str] = []
    run(tiny, tmp_path / "plain", [], steps)
    run(tiny, tmp_path / "traced", [Profile(tmp_path / "traced", said.append, steps=2, after=2)], steps)
    events = json.loads(gzip.decompress((tmp_path / "traced" / TRACE).read_bytes()))["traceEvents"]
    updates = [event for event in events if event.get("name", "").startswith("Optimizer.step#AdamW")]
    assert len(updates) == traced
    assert said == [f"{TRACE} in the stage's folder: {traced} step{'s' * (traced > 1)} up to step {2 + traced}"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "traced")]
    assert weights[0] == weights[1]


def test_steps_are_those_of_this_start_and_are_traced_once(tmp_path: Path) -> None:
    said: list[str] = []
    assert do_steps(Profile(tmp_path, said.append), 101, 112, steps=200) == [False, False, *[True] * 3, *[False] * 7]
    assert said == [f"{TRACE} in the stage's folder: 3 steps up to step 106"]


def test_the_end_of_training_ends_the_trace(tmp_path: Path) -> None:
    said: list[str] = []
    assert do_steps(Profile(tmp_path, said.append), 1, 4, steps=4) == [False, False, True, False]
    assert said == [f"{TRACE} in the stage's folder: 1 step up to step 4"]
    assert (tmp_path / TRACE).exists()


@pytest.mark.parametrize("left", [2, 3])
def test_where_too_few_steps_are_left_no_trace_begins_and_it_is_said(tmp_path: Path, left: int) -> None:
    said: list[str] = []
    assert not any(do_steps(Profile(tmp_path, said.append), 101 - left, 100, steps=100))
    assert said == [f"no trace: it begins after 3 steps, and this start had {left} to do"]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_the_trace_and_not_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    with room_for(0):
        assert do_steps(Profile(tmp_path, said.append), 1, 7, steps=9) == [False, False, *[True] * 3, *[False] * 2]
    assert said == [f"{tmp_path / TRACE} could not be written (File too large): training goes on without a trace"]
    assert list(tmp_path.iterdir()) == []


def test_the_profilers_library_writes_no_lines_of_its_own() -> None:
    """In a process of its own, because the library asks once how much it may say."""
    program = "from mm1.train.profiling import _started; _started().stop()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=200)
    assert "profiler_st" not in done.stdout + done.stderr
