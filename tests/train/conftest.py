"""`tiny` is tests/train/tiny.py, which is also a program that tests start in processes of their own."""

from __future__ import annotations

import importlib.util
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

PROGRAM = Path(__file__).with_name("tiny.py")


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_stage", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_stage"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def start() -> Callable[..., list[int]]:
    """Runs stages [folder, changes, kill_at] one after another, in one process or many ranks; returns exit codes."""

    def run(stages: list[list[Any]], ranks: int = 1) -> list[int]:
        command = [sys.executable, str(PROGRAM), json.dumps(stages, default=str)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(ranks)}
        extra = [{**launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {} for rank in range(ranks)]
        processes = [subprocess.Popen(command, env={**environment, **variables}) for variables in extra]
        return [process.wait(timeout=300) for process in processes]

    return run
