from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from mm1.distributed.mesh import World
from mm1.models.counts import parameters_by_part
from mm1.train.ema import EMAConfig
from mm1.train.memory import PeakMemory, held, memory_lines
from mm1.train.optimizer import OptimizerConfig
from mm1.train.run import initial_state, run_stage


class Parts(nn.Module):
    """A model of two parts, of sizes in bytes, in which half of the first is frozen; nothing is allocated."""

    def __init__(self, encoder: int, decoder: int, buffer: int = 0) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ParameterList(), nn.ParameterList()
        for part, size, moves in ((self.encoder, encoder / 2, False), (self.encoder, encoder / 2, True)):
            part.append(nn.Parameter(floats(size), requires_grad=moves))
        self.decoder.append(nn.Parameter(floats(decoder)))
        self.decoder.register_buffer("table", floats(buffer))


def floats(size: float) -> torch.Tensor:
    return torch.empty(round(size / 4), device="meta")


def state_of(model: nn.Module, averaged: bool = False) -> Any:
    """With two moments a parameter that moves."""
    moving = {name: one.detach() for name, one in model.named_parameters() if one.requires_grad}
    tensors = {f"{name}.{key}": one for name, one in moving.items() for key in ("exp_avg", "exp_avg_sq")}
    average = SimpleNamespace(tensors=moving) if averaged else None
    return SimpleNamespace(model=model, optimizers=SimpleNamespace(tensors=lambda: tensors), average=average)


def test_lines_of_kinds_and_of_parts_each_add_up_to_the_whole() -> None:
    assert memory_lines(state_of(Parts(encoder=4e9, decoder=8e9, buffer=1e9), averaged=True)) == (
        "memory a rank: 53.0 GB = weights 13.0 + gradients 10.0 + optimizer 20.0 + average 10.0",
        "   = encoder 12.0 + decoder 41.0",
    )


@pytest.mark.parametrize(
    ("size", "total", "unit"),
    [(1e9, "4.0", "GB"), (0.25e9, "1.0", "GB"), (0.2498e9, "999.2", "MB"), (0.25e6, "1.0", "MB"), (1e5, "400.0", "kB")],
)
def test_the_unit_is_that_of_the_sum(size: float, total: str, unit: str) -> None:
    of_kinds, of_parts = memory_lines(state_of(Parts(encoder=0, decoder=size)))
    assert of_kinds.startswith(f"memory a rank: {total} {unit} = weights ")
    assert of_parts == f"   = decoder {total}"


def test_a_part_that_would_read_0_is_left_out_and_a_small_one_is_not() -> None:
    of_parts = [memory_lines(state_of(Parts(encoder=size, decoder=1e6)))[1] for size in (16e3, 24e3)]
    assert of_parts == ["   = decoder 4.0", "   = encoder 0.1 + decoder 4.0"]


def test_of_what_is_sharded_a_rank_counts_its_share_and_of_what_is_not_the_whole(sharded: Parts) -> None:
    """The decoder is dealt among four ranks; of 10 rows the last rank has 1, the others 3."""
    found = held(state_of(sharded))
    assert found["weights", "decoder"] == found["gradients", "decoder"] == 3 * 8 * 4
    assert found["optimizer", "decoder"] == 2 * 3 * 8 * 4
    assert found["weights", "encoder"] == 4000


@pytest.fixture
def sharded() -> Iterator[Parts]:
    """As the first of four ranks sees it; the other three are made up."""
    dist.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
    model = Parts(encoder=4000, decoder=0)
    whole = torch.zeros(10, 8)
    mesh = init_device_mesh("cpu", (4,))
    model.decoder[0] = nn.Parameter(distribute_tensor(whole, mesh, [Shard(0)]))
    yield model
    dist.destroy_process_group()


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


def test_on_cuda_the_most_is_told_once_after_the_second_step(monkeypatch: pytest.MonkeyPatch) -> None:
    card = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {card: 61.26e9}.__getitem__)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", {card: 64e9}.__getitem__)
    said: list[str] = []
    hook, info = PeakMemory(card, said.append), cast(Any, None)
    hook.on_step(info)
    assert said == []
    for _ in range(3):
        hook.on_step(info)
        assert said == ["the most memory that a step took: 61.3 GB (64.0 GB with what the allocator keeps)"]
