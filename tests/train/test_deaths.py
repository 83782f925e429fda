from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mm1.config import UserError
from mm1.distributed.checkpoint import latest
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
    assert last.startswith("mm1.distributed.lost.RankLost: another rank ended in the middle of the work")
