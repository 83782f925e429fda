"""What a plan says is sent against what two processes send, counted collective by collective."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mm1.train.planning.cut import cut
from mm1.train.planning.hardware import find
from mm1.train.planning.pieces import TraceConfig
from mm1.train.planning.traffic import traffic
from tests.train.planning.counted import DEALT, LAYOUTS, MICROBATCHES, RANKS, stage_of

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


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_planned_is_what_is_sent(counted: dict[str, Any], name: str) -> None:
    config = stage_of(LAYOUTS[name])
    rows = config.rows_at_once(RANKS)
    pieces = cut(config, rows, IN_FLOAT32)
    planned = traffic(
        pieces, config.parallel, RANKS, IN_FLOAT32, accumulation=MICROBATCHES, hardware=find("h100")
    ).bytes
    found = counted[name]
    assert found["all_to_all"] == found["reported"] == pytest.approx(planned["all_to_all"], rel=1e-6)
    # Rows that do not divide are padded before they travel.
    for kind in ("all_gather", "reduce_scatter", "all_reduce"):
        assert found[kind] == pytest.approx(planned[kind], rel=0.01), kind


def test_every_kind_was_sent_somewhere(counted: dict[str, Any]) -> None:
    assert counted["gathered once"]["all_gather"] < counted["sharded"]["all_gather"]
    assert 0 < counted["summed once"]["reduce_scatter"] < counted["sharded"]["reduce_scatter"]
    assert counted["copies"]["all_reduce"] > 0 == counted["sharded"]["all_reduce"]


def test_exchanges_are_as_many_as_a_layout_says(counted: dict[str, Any]) -> None:
    """In one sparse layer, two microbatches: there and back, and as gradients; twice forward if computed twice."""
    for name, layout in DEALT.items():
        assert counted[name]["exchanges"] == MICROBATCHES * layout.crossings
    assert [layout.crossings for layout in DEALT.values()] == [4, 6, 6]
