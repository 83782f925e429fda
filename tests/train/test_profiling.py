from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mm1.train.profiling import TRACE, Profile
from mm1.train.run import run_stage


def run(tiny: ModuleType, folder: Path, hooks: list[Any], steps: int) -> None:
    folder.mkdir()
    tokenizer, sources = tiny.world_of(folder.parent)
    run_stage(tiny.stage(steps=steps), folder, sources, tokenizer, hooks=hooks, say=lambda line: None)


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
    assert said == [f"{TRACE} in the stage's folder: {traced} steps up to step {2 + traced}"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "traced")]
    assert weights[0] == weights[1]


def test_a_run_too_short_to_be_traced_ends_as_usual(tiny: ModuleType, tmp_path: Path) -> None:
    run(tiny, tmp_path / "short", [Profile(tmp_path / "short", print, after=3)], steps=3)
    assert not (tmp_path / "short" / TRACE).exists()
