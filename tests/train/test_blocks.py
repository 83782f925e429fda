"""Blocks that are computed twice, and blocks that are compiled: the same numbers, with less memory or fewer kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.models import experts
from mm1.models.moe import MoE
from mm1.train.blocks import _policy, checkpoint_blocks
from mm1.train.objectives import build_objective
from mm1.train.run import deterministic
from mm1.train.stage import StageConfig
from mm1.types import Batch

PROGRAM = Path(__file__).with_name("compiled.py")
MODELS = ["mm1", "moe", "clip", "aim"]
Measured = tuple[float, dict[str, Tensor]]


@pytest.fixture
def batches(tiny: ModuleType, tmp_path: Path) -> Callable[[StageConfig], list[Batch]]:
    """Eight steps' batches."""

    def make(config: StageConfig) -> list[Batch]:
        tokenizer, sources = tiny.world_of(tmp_path, config.model.num_image_tokens)
        encoder = DocumentEncoder(tokenizer, config.model.num_image_tokens, 16)
        plan = build_plan(config.data, sources, config.model.num_image_tokens, config.objective == "contrastive")
        loader = Loader(plan, encoder, sources)
        return [loader.batch(step, 0, 1) for step in range(8)]

    return make


def stage(tiny: ModuleType, model: str, **changes: Any) -> StageConfig:
    config: StageConfig = tiny.stage(model, text_share=0.5 if model in ("mm1", "moe") else 0.0, **changes)
    return config


def step(config: StageConfig, model: nn.Module, batch: Batch) -> Measured:
    """The loss and all gradients."""
    model.zero_grad()
    total = build_objective(config.objective, config.loss)(model, batch).total
    total.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return total.item(), {name: gradient for name, gradient in gradients.items() if gradient is not None}


def assert_equal(one: Measured, other: Measured) -> None:
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert torch.equal(other[1][name], gradient), name


def bytes_kept(config: StageConfig, model: nn.Module, batch: Batch) -> int:
    """What forward has allocated and not freed when backward is about to begin."""
    objective = build_objective(config.objective, config.loss)
    objective(model, batch)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as trace:
        losses = objective(model, batch)
    assert losses.total.requires_grad
    return sum(event.self_cpu_memory_usage for event in trace.key_averages())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["selective", "full"])
def test_checkpointed_blocks_give_the_same_bits(
    tiny: ModuleType, batches: Callable[[StageConfig], list[Batch]], model: str, mode: Any
) -> None:
    config = stage(tiny, model, rows=2)
    plain, again = config.build(), config.build()
    checkpoint_blocks(again, mode)
    with deterministic():
        for batch in batches(config)[:2]:
            assert_equal(step(config, plain, batch), step(config, again, batch))


@pytest.mark.parametrize("model", ["mm1", "moe"])
def test_a_kernel_tried_in_the_first_step_is_no_part_of_a_block(
    tiny: ModuleType, batches: Callable[[StageConfig], list[Batch]], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experts, "_WORKS", {})
    config = stage(tiny, model, rows=2)
    plain, again = config.build(), config.build()
    checkpoint_blocks(again, "selective")
    batch = batches(config)[0]
    assert_equal(step(config, again, batch), step(config, plain, batch))


def test_less_is_kept(tiny: ModuleType, batches: Callable[[StageConfig], list[Batch]]) -> None:
    config = stage(tiny, "mm1", rows=8)
    config = config.replace(model=config.model.replace(decoder=tiny.DECODER.replace(num_layers=8, mlp="swiglu")))
    batch, kept = batches(config)[0], {}
    for mode in ("none", "selective", "full"):
        model = config.build()
        checkpoint_blocks(model, mode)
        kept[mode] = bytes_kept(config, model, batch)
    assert kept["selective"] < 0.6 * kept["none"], kept
    assert kept["full"] < 0.6 * kept["selective"], kept


def test_where_experts_are_elsewhere_a_block_is_checkpointed_in_full(tiny: ModuleType) -> None:
    model = stage(tiny, "moe").build()
    sparse = [block for block in model.decoder.blocks if isinstance(block.mlp, MoE)]
    for block in sparse:
        block.mlp.exchange = lambda experts, rows, counts: experts(rows, counts)
    checkpoint_blocks(model, "selective")
    full = [block for block in model.decoder.blocks if "context_fn" not in block.forward.keywords]
    assert full == sparse != []


def test_selective_keeps_what_attention_makes_in_tiles() -> None:
    """FlexAttention's kernel has no backward on the CPU: what is said of it when it is met."""
    met = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            met[func.name()] = _policy(None, func)
            return func(*args, **(kwargs or {}))

    assert _policy(None, torch.ops.higher_order.flex_attention) == CheckpointPolicy.MUST_SAVE
    with Watch():
        torch.ones(2, 2) @ torch.ones(2, 2) + 1
    assert met["aten::mm"] == CheckpointPolicy.MUST_SAVE != met["aten::add.Tensor"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What a process finds with a back end: the type checks of tests would be compiled along in this one."""

    def run(*backends: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("compiled")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, str(PROGRAM), str(folder), *backends], env=environment, check=True, timeout=500)
        found: dict[str, Any] = json.loads((folder / "compiled.json").read_text())
        return found

    return run


def test_blocks_of_a_kind_are_compiled_once_and_give_the_same_numbers(compiled: Callable[..., dict[str, Any]]) -> None:
    """Kinds: the encoder's, the decoder's or tower's, AIM's head. With experts the loop over them breaks the graph."""
    found = compiled("counting")
    assert set(found["images"]) >= {0, 1, 3}, "numbers of images that vary"
    for case, kinds in {"mm1 none": 2, "mm1 selective": 2, "mm1 full": 2, "aim none": 2}.items():
        assert found[case]["graphs"] == [kinds] * 6, case
        assert found[case]["breaks"] == 0, case
    for case in ("moe none", "moe full"):
        assert len(set(found[case]["graphs"][3:])) == 1, case
    assert len(set(found["lengths"])) >= 3, "lengths that vary"
    assert found["trimmed counting"]["graphs"] == [1, 3, 3, 3, 3, 3], "a decoder's block again, for any length"
    assert found["trimmed counting"]["breaks"] == 0
    assert max(apart(found)) <= 1e-4


@pytest.mark.slow
def test_compiled_for_good(compiled: Callable[..., dict[str, Any]]) -> None:
    found = compiled("aot_eager", "inductor")
    assert max(apart(found)) <= 1e-3


def apart(found: dict[str, Any]) -> list[float]:
    """By case, the largest difference of a loss or gradient."""
    return [result["apart"] for result in found.values() if isinstance(result, dict)]
