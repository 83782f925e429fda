from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from mm1.distributed import saver as module
from mm1.distributed.checkpoint import CheckpointFailed, Keep, latest, load, save
from mm1.distributed.saver import Saver


class Slow:
    """`save` that waits for a word before it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        monkeypatch.setattr(module, "save", self)

    def __call__(self, *arguments: Any) -> Path:
        assert self.go.wait(60)
        return save(*arguments)


def test_training_goes_on_while_files_are_written_and_changes_nothing_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    weight, count, values = torch.zeros(3, 4), torch.tensor(1.0), {"time": {"data": 1.0}}
    with Saver(tmp_path, Keep()) as saver:
        saver.begin(5, {"weight": weight, "count": count}, values)
        assert saver.is_busy
        weight += 7
        count += 7
        values["time"]["data"] = 9.0
        assert latest(tmp_path, print) is None
        slow.go.set()
        assert saver.wait()
        assert not saver.is_busy
        assert not saver.wait()
    found = latest(tmp_path, print)
    assert found is not None
    assert (found.step, found.values) == (5, {"time": {"data": 1.0}})
    read = {"weight": torch.ones(3, 4), "count": torch.zeros(())}
    load(found, read)
    assert (read["weight"] == 0).all()
    assert read["count"] == 1


def test_leaving_waits_for_what_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)

    def fail_in_training() -> None:
        with Saver(tmp_path, Keep()) as saver:
            saver.begin(5, {"weight": torch.zeros(2)}, {})
            threading.Timer(0.05, slow.go.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        fail_in_training()
    assert latest(tmp_path, print) is not None


def test_a_failure_is_told_once_and_the_next_checkpoint_is_another_try(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with Saver(tmp_path / "checkpoints", Keep()) as saver:
        saver.begin(1, {"weight": torch.zeros(2)}, {})
        with pytest.raises(CheckpointFailed):
            saver.wait()
        saver.wait()
        (tmp_path / "checkpoints").unlink()
        saver.begin(2, {"weight": torch.zeros(2)}, {})
        saver.wait()
    found = latest(tmp_path / "checkpoints", print)
    assert found is not None
    assert found.step == 2
