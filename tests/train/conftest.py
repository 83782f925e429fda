"""`tiny` is tests/train/tiny.py, which is also a program that tests start in processes of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.train.stand_ins import modules

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
def start_each() -> Callable[..., list[list[int]]]:
    """Runs stages [folder, changes, kill_at or [step, signal] or None] by each of several numbers of ranks, one after
    another, in processes of their own; returns the ranks' exit codes.
    """

    def run(groups: list[tuple[int, list[list[Any]]]]) -> list[list[int]]:
        asked = [
            (
                ranks,
                [
                    [str(folder), changes, [stop, signal.SIGKILL] if isinstance(stop, int) else stop]
                    for folder, changes, stop in stages
                ],
            )
            for ranks, stages in groups
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(PROGRAM), json.dumps(asked)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        print(done.stdout)
        codes: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
        return codes

    return run


@pytest.fixture(scope="session")
def start(start_each: Callable[..., list[list[int]]]) -> Callable[..., list[int]]:
    """The same by one number of ranks."""
    return lambda stages, ranks=1: start_each([(ranks, stages)])[0]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """`wandb` and `torch.utils.tensorboard` that write down what they are told."""
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
