from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from mm1.distributed.checkpoint import latest, load
from mm1.distributed.collectives import any_rank, from_first_rank, gather_objects, gather_with_gradients, sum_

PROGRAM = Path(__file__).with_name("ranks.py")


def test_alone_everything_is_the_identity() -> None:
    tensor = torch.ones(3, 2, requires_grad=True)
    assert gather_with_gradients(tensor) == (tensor, 0)
    assert sum_(tensor) is tensor
    assert from_first_rank("value") == "value"
    assert gather_objects("value") == ["value"]
    assert any_rank(True, torch.device("cpu"))
    assert not any_rank(False, torch.device("cpu"))


def test_two_ranks_and_then_one_that_reads_what_they_saved(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(tmp_path)],
            env={**os.environ, **launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    found = latest(tmp_path / "resharded", print)
    assert found is not None
    matrix = torch.zeros(5, 3)
    load(found, {"matrix": matrix, "scalar": torch.zeros(())})
    assert torch.equal(matrix, torch.arange(15.0).reshape(5, 3))
