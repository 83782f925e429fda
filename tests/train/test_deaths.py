from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch.distributed as dist

from mm1.config import UserError
from mm1.distributed.checkpoint import latest
from mm1.train.deaths import telling_of_deaths
from mm1.train.run import run_stage


class KillWorkers:
    """A hook: after step 3 the processes that prepare batches are killed."""

    def on_step(self, info: Any) -> None:
        if info.step == 3:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, signal.SIGKILL)


def test_a_worker_that_dies_is_told_in_one_sentence(tiny: ModuleType, tmp_path: Path) -> None:
    tokenizer, sources = tiny.world_of(tmp_path)
    (tmp_path / "run").mkdir()
    config = tiny.stage(steps=40, num_workers=1)
    with pytest.raises(UserError, match=r"prepares batches died \(.*\), .*fewer num_workers.*last checkpoint"):
        run_stage(config, tmp_path / "run", sources, tokenizer, hooks=[KillWorkers()], say=lambda line: None)
    found = latest(tmp_path / "run" / "checkpoints", print)
    assert found is not None
    assert found.step >= 2


def test_a_rank_that_dies_is_told_by_the_other_in_one_sentence(
    start_each: Callable[..., list[list[int]]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    codes = start_each([(2, [[tmp_path / "run", {"steps": 40}, [3, signal.SIGKILL, 1]]])])
    assert codes == [[1, -signal.SIGKILL]]
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mm1.config.UserError: another rank ended in the middle of training")


@pytest.mark.parametrize(
    "words",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:419] writev [10.0.0.2]:4711: Broken pipe",
        "Connection closed by peer [10.0.0.2]:4711",
        "Read error [10.0.0.2]:4711: Connection reset by peer",
        "NCCL communicator was aborted on rank 3.",
        "ncclRemoteError: remote process exited or there was a network error",
    ],
)
def test_each_library_has_its_own_words_for_it(words: str) -> None:
    error = RuntimeError(words)
    with pytest.raises(UserError, match="another rank ended") as told, telling_of_deaths():
        raise error
    assert told.value.__cause__ is error  # a developer wants to know


def test_a_store_that_is_gone_is_told_whatever_its_words() -> None:
    with pytest.raises(UserError, match="another rank ended"), telling_of_deaths():
        raise dist.DistNetworkError("failed to recv, got 0 bytes")


def test_a_connection_of_something_else_is_left_as_it_is() -> None:
    with pytest.raises(ConnectionResetError), telling_of_deaths():
        raise ConnectionResetError("Connection reset by peer")


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"), telling_of_deaths():
        raise RuntimeError("shapes do not fit")
