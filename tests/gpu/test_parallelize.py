"""What backward computes twice, and what is compiled, in a stage of one process: the same losses, with less memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mm1.train.layout import ParallelConfig
from mm1.train.run import run_stage


def losses(tiny: ModuleType, folder: Path, device: torch.device, model: str, **parallel: Any) -> list[float]:
    """Of eight steps, logged one by one."""
    folder.mkdir()
    config = tiny.stage(model, steps=8, log_every=1, precision="auto", parallel=ParallelConfig(**parallel))
    tokenizer, sources = tiny.world_of(folder.parent, config.model.num_image_tokens)
    run_stage(config, folder, sources, tokenizer, say=lambda line: None, device=device.type)
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("model", ["mm1", "moe"])
def test_checkpointed_blocks_learn_the_same(tiny: ModuleType, tmp_path: Path, device: torch.device, model: str) -> None:
    plain = losses(tiny, tmp_path / "none", device, model)
    for mode in ("selective", "full"):
        again = losses(tiny, tmp_path / mode, device, model, activation_checkpointing=mode)
        assert again == (plain if device.type == "cpu" else pytest.approx(plain, rel=0.05))


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize("model", ["mm1", "moe"])
def test_compiled_blocks_learn_the_same_and_are_compiled_in_the_first_steps(
    tiny: ModuleType, tmp_path: Path, cuda: torch.device, model: str, mode: str
) -> None:
    """FlexAttention and the grouped kernel are traced along; no number of images makes anything new."""
    plain = losses(tiny, tmp_path / "plain", cuda, model)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = losses(tiny, tmp_path / "compiled", cuda, model, compile=True, activation_checkpointing=mode)
    assert compiled == pytest.approx(plain, rel=0.05)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] < 16
