"""What a plan says is sent against what two processes send, counted collective by collective."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm1.train.layout import ParallelConfig
from mm1.train.planning.cut import cut
from mm1.train.planning.hardware import find
from mm1.train.planning.pieces import TraceConfig
from mm1.train.planning.traffic import KINDS, Traffic, traffic
from mm1.train.stage import StageConfig
from tests.train.planning.counted import DEALT, MICROBATCHES, RANKS, stages

ROOT = Path(__file__).parents[3]
IN_FLOAT32 = TraceConfig(bf16=False)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Bytes by layout and kind."""
    folder = tmp_path_factory.mktemp("counted")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(RANKS), "OMP_NUM_THREADS": "1"}
    launcher |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.planning.counted", str(folder)],
            env={**os.environ, **launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
        )
        for rank in range(RANKS)
    ]
    assert [process.wait(timeout=200) for process in processes] == [0] * RANKS
    found: dict[str, Any] = json.loads((folder / "counted.json").read_text())
    return found


@pytest.mark.parametrize("name", stages())
def test_what_is_planned_is_what_is_sent(counted: dict[str, Any], name: str) -> None:
    config, found = stages()[name], counted[name]
    planned = planned_traffic(config)
    assert found["bytes"]["all_to_all"] == found["bytes"]["reported"]
    for kind in KINDS:
        # Rows that do not divide are padded before they travel.
        assert found["bytes"][kind] == pytest.approx(planned.bytes[kind], rel=1e-6 if kind == "all_to_all" else 0.01)
        assert found["calls"][kind] == planned.calls[kind], kind


def planned_traffic(config: StageConfig) -> Traffic:
    pieces = cut(config, config.rows_at_once(RANKS), IN_FLOAT32)
    return traffic(pieces, config.parallel, RANKS, IN_FLOAT32, accumulation=MICROBATCHES, hardware=find("h100"))


def test_every_kind_was_sent_somewhere(counted: dict[str, Any]) -> None:
    sent = {name: found["bytes"] for name, found in counted.items()}
    assert sent["gathered once"]["all_gather"] < sent["frozen encoder"]["all_gather"] < sent["sharded"]["all_gather"]
    assert 0 < sent["summed once"]["reduce_scatter"] < sent["sharded"]["reduce_scatter"]
    assert sent["copies"]["all_reduce"] > 0 == sent["sharded"]["all_reduce"]
    assert sent["sharded"]["update_gather"] > 0 == sent["frozen encoder"]["update_gather"]


def test_exchanges_are_as_many_as_a_layout_says(counted: dict[str, Any]) -> None:
    """In one sparse layer, two microbatches: there and back, and as gradients; twice forward if computed twice."""
    for name, layout in DEALT.items():
        assert counted[name]["calls"]["all_to_all"] == MICROBATCHES * layout.crossings
    assert [layout.crossings for layout in DEALT.values()] == [4, 6, 6]


def test_what_experts_gather_from_other_nodes_is_slow() -> None:
    """16 devices in two nodes, experts over 8: those that share an expert stand in different nodes."""
    config = stages()["dealt none"]
    pieces = cut(config, 1, IN_FLOAT32)
    moe = [piece for piece in pieces if piece.experts]
    wide = [replace(piece, parameters=10**9, experts=10**9) for piece in moe]

    def seconds(experts: int) -> float:
        spread = ParallelConfig(experts=experts)
        found = traffic(wide, spread, 16, IN_FLOAT32, accumulation=1, hardware=find("h100"))
        return found.seconds["all_gather"] / found.bytes["all_gather"]

    h100 = find("h100")
    assert seconds(8) / seconds(1) == pytest.approx(8, rel=0.01), "a card each instead of all eight"
    assert seconds(1) == pytest.approx(1 / (8 * h100.network * 0.75), rel=0.01)
