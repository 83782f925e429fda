from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mm1.distributed.mesh import World
from mm1.models.counts import parameters_by_part
from mm1.train.ema import EMAConfig
from mm1.train.memory import PeakMemory, held, memory_lines
from mm1.train.optimizer import OptimizerConfig
from mm1.train.run import initial_state, run_stage


def test_adamw_with_an_average_holds_five_times_the_weights(tiny: ModuleType) -> None:
    config = tiny.stage(optimizer=OptimizerConfig(), ema=EMAConfig())
    state = initial_state(config, {}, World())
    found = held(state)
    weights = 4 * parameters_by_part(state.model)["total"]
    buffers = sum(buffer.nbytes for buffer in state.model.buffers())
    kinds = {kind: sum(size for (one, _), size in found.items() if one == kind) for kind, _ in found}
    assert kinds["weights"] == weights + buffers
    assert kinds["gradients"] == kinds["average"] == weights
    steps = 4 * len(state.optimizers.parameters)
    assert kinds["optimizer"] == 2 * weights + steps
    for part in ("image_encoder", "connector", "decoder"):
        assert found["gradients", part] == sum(one.nbytes for one in getattr(state.model, part).parameters())


def test_what_is_frozen_has_neither_gradients_nor_optimizer_state(tiny: ModuleType) -> None:
    config = tiny.stage(optimizer=OptimizerConfig(frozen=("image_encoder",)))
    found = held(initial_state(config, {}, World()))
    assert found["weights", "image_encoder"] > 0
    assert found["gradients", "image_encoder"] == found["optimizer", "image_encoder"] == 0


def test_a_stage_tells_it_once_before_its_first_step(tiny: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    tokenizer, sources = tiny.world_of(tmp_path)
    (tmp_path / "run").mkdir()
    run_stage(tiny.stage(steps=2), tmp_path / "run", sources, tokenizer, say=said.append)
    place = next(number for number, line in enumerate(said) if line.startswith("memory a rank: "))
    assert tuple(said[place : place + 2]) == memory_lines(initial_state(tiny.stage(steps=2), {}, World()))
    assert all("tokens/s" not in line for line in said[:place])
    assert sum("memory" in line for line in said) == 1


def test_on_cuda_the_most_is_told_after_the_second_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 61.26e9)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 64e9)
    said: list[str] = []
    hook, info = PeakMemory(torch.device("cuda", 0), said.append), Any
    hook.on_step(info)
    assert said == []
    hook.on_step(info)
    hook.on_step(info)
    assert said == ["the most memory that a step took: 61.3 GB (64.0 GB with what the allocator keeps)"]
