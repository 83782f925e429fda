"""Several layouts on four processes, and a run that changes its layout half-way, against one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mm1.train.run import run_stage

PROGRAM = Path(__file__).with_name("layouts.py")
DEALT_OUT = ("experts over 4", "experts over 2, cut by 2", "experts over 2, 2 copies", "capacity", "gelu", "loop")
EQUAL = (
    "sharded",
    "hsdp",
    "hsdp, experts gathered",
    *DEALT_OUT,
    "a rank without tokens",
    "ranks whose experts nobody wants",
    "full",
    "selective",
    "kept gathered",
    "compiled",
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What four ranks found."""
    folder = tmp_path_factory.mktemp("layouts")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "4", "OMP_NUM_THREADS": "1"}
    launcher["CUDA_VISIBLE_DEVICES"] = ""
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder)],
            env={**os.environ, **launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(4)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0, 0]
    found: dict[str, Any] = json.loads((folder / "differences.json").read_text())
    return found


@pytest.mark.parametrize("case", EQUAL)
def test_loss_gradients_and_routing_are_those_of_one_process(account: dict[str, Any], case: str) -> None:
    found = account["results"][case]
    assert found["size"] > 0.01, "gradients too small to tell anything"
    assert found["loss"] <= 1e-6
    assert found["gradients"] <= 1e-7
    assert found["extra"] <= 1e-6
    assert found["norm"] <= 1e-6


def test_those_cases_are_what_they_are_called(account: dict[str, Any]) -> None:
    """One rank has images and three have none; with a capacity choices are dropped."""
    assert sorted(account["images"])[:3] == [0, 0, 0]
    assert max(account["images"]) > 0
    results = account["results"]
    assert results["capacity"]["dropped"] > 0.05
    assert results["experts over 4"]["dropped"] == 0


def test_bytes_are_those_that_travel(account: dict[str, Any]) -> None:
    results = account["results"]
    assert results["hsdp, experts gathered"]["bytes"] == 0
    assert results["experts over 4"]["bytes"] == results["loop"]["bytes"]
    assert results["experts over 4"]["bytes"] > results["experts over 2, 2 copies"]["bytes"] > 0
    assert results["capacity"]["bytes"] < results["experts over 2, 2 copies"]["bytes"]
    assert results["full"]["bytes"] == pytest.approx(1.5 * results["experts over 2, 2 copies"]["bytes"])


def test_weights_gathered_in_bfloat16_give_what_autocast_gives(account: dict[str, Any]) -> None:
    """Not to the bit: norms and routers are rounded as well."""
    assert account["results"]["bf16"]["loss"] <= 1e-3
    assert account["results"]["bf16"]["gradients"] <= 0.03


def test_a_checkpoint_of_one_layout_is_one_of_any(account: dict[str, Any]) -> None:
    assert all(account["checkpoints"].values())
    assert len(account["checkpoints"]) == 3


def test_every_rank_begins_with_its_part_of_what_one_process_begins_with(account: dict[str, Any]) -> None:
    assert all(account["beginnings"].values()), account["beginnings"]
    assert len(account["beginnings"]) == 15


def test_a_run_that_goes_on_under_another_layout_ends_with_the_weights_of_one_process(
    tiny: ModuleType, start: Callable[..., list[int]], tmp_path: Path
) -> None:
    """Two copies with experts dealt out and blocks checkpointed, killed; then all experts on two ranks; then alone."""
    changes: dict[str, Any] = {"model": "moe", "rows": 4, "microbatch_rows": 1}
    changes["steps"] = 8
    alone, moved = tmp_path / "alone", tmp_path / "moved"
    for folder in (alone, moved):
        folder.mkdir()
    config = tiny.stage(**changes)
    tokenizer, sources = tiny.world_of(tmp_path)
    run_stage(config, alone, sources, tokenizer, say=lambda line: None)
    layout = {"replicate": 2, "experts": 2, "activation_checkpointing": "full"}
    assert set(start([[moved, {**changes, "parallel": layout}, 5]], ranks=4)) == {-9}
    layout = {"experts": 2, "activation_checkpointing": "selective"}
    assert set(start([[moved, {**changes, "parallel": layout}, 7]], ranks=2)) == {-9}
    said: list[str] = []
    run_stage(config, moved, sources, tokenizer, say=said.append)
    assert any("going on from step 6" in line for line in said)
    one, other = (load_file(folder / "model.safetensors") for folder in (alone, moved))
    for name, tensor in one.items():
        atol = 5e-5 if name.endswith("qkv.bias") else 5e-6
        torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=atol, msg=lambda text, at=name: f"{at}: {text}")
    first = json.loads((moved / "metrics.jsonl").read_text().splitlines()[0])
    assert first["all_to_all_bytes"] > 0


@pytest.mark.parametrize("layout", ["sharded", "hsdp", "experts"])
@pytest.mark.parametrize("gradients", ["each", "last"])
@pytest.mark.parametrize("weights", ["resharded", "kept"])
def test_over_several_microbatches_gradients_are_the_same_and_nothing_travels_in_vain(
    account: dict[str, Any], layout: str, gradients: str, weights: str
) -> None:
    """Units: what stays gathered; the image encoder's blocks; each of two decoder blocks; experts where dealt out."""
    found = account["accumulated"][f"{layout}, {gradients}, {weights}"]
    assert found["loss"] <= 1e-6
    assert found["gradients"] <= 1e-7
    assert found["sharded"], "the optimizer would move weights that are gathered"
    microbatches, units, blocks = 3, 4, 3
    gathers, reductions = found["collectives"]["_allgather_base_"], found["collectives"]["_reduce_scatter_base_"]
    assert (
        gathers == units if weights == "kept" else 1 + microbatches * blocks < gathers <= 1 + microbatches * 2 * blocks
    )
    assert reductions == (units if gradients == "last" else microbatches * units)
    if layout == "hsdp":
        assert found["collectives"]["allreduce_"] == units
