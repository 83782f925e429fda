from __future__ import annotations

import json
import os
import re
import resource
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from mm1.config import UserError
from mm1.distributed.checkpoint import CheckpointFailed, Keep, latest, load, save


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3, 4), value), "step": torch.tensor(value), "empty": torch.zeros(0, 2)}


def saved(folder: Path, *steps: int) -> None:
    for step in steps:
        save(folder, step, tensors(float(step)), {"totals": {"loss": 0.1 + step}})


def newest(folder: Path) -> tuple[int | None, list[str]]:
    said: list[str] = []
    found = latest(folder, said.append)
    return (None if found is None else found.step), said


class Disk:
    """What is asked of the file system, in order: ("sync" | "rename" | "remove", inode, bytes of a file)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int, int]] = []
        for module, name, kind in (
            (os, "fsync", "sync"),
            (os, "rename", "rename"),
            (os, "replace", "rename"),
            (shutil, "rmtree", "remove"),
        ):
            monkeypatch.setattr(module, name, self.noting(kind, getattr(module, name)))

    def noting(self, kind: str, usual: Any) -> Any:
        def asked(what: Any, *arguments: Any, **options: Any) -> Any:
            self.asked.append(entry(kind, what))
            return usual(what, *arguments, **options)

        return asked

    def when(self, *what: Any, after: int = -1) -> int:
        """The first moment after another at which this was asked for."""
        return self.asked.index(entry(*what), after + 1)


def entry(kind: str, what: Any) -> tuple[str, int, int]:
    status = os.stat(what)
    return kind, status.st_ino, status.st_size if stat.S_ISREG(status.st_mode) else 0


class KilledError(BaseException):
    """The end of a process, for a test."""


def kill_in_removal(path: Path, **_: Any) -> None:
    sorted(path.iterdir())[0].unlink()
    raise KilledError


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved(tmp_path, 7)
    found = latest(tmp_path, print)
    assert found is not None
    assert found.values == {"totals": {"loss": 7.1}}
    target = tensors(0.0)
    kept = target["weight"]
    load(found, target)
    assert all(torch.equal(target[name], value) for name, value in tensors(7.0).items())
    assert kept is target["weight"]


def test_the_newest_two_stay_and_numbers_sort_as_numbers(tmp_path: Path) -> None:
    saved(tmp_path, 9, 10, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert newest(tmp_path) == (100, [])


def test_those_of_every_nth_step_stay_for_good(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 50, 60):
        save(tmp_path, step, tensors(1.0), {}, Keep(last=1, every=20))
    assert sorted(path.name[-2:] for path in tmp_path.iterdir()) == ["20", "40", "60"]


def test_a_write_that_the_disk_refuses_leaves_no_trace_and_harms_no_checkpoint(tmp_path: Path) -> None:
    """The system itself refuses files of more than so many bytes; torch hides its word behind another error."""
    saved(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (2, 1000, 4000):  # in metadata, in the first tensor, in the last
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
        try:
            with pytest.raises(CheckpointFailed, match=f"^{tmp_path}: File too large$"):
                save(tmp_path, 2, {"weight": torch.zeros(40, 40), "more": torch.zeros(40, 40)}, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert newest(tmp_path) == (1, [])
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_nothing_is_found_in_a_folder_that_is_empty_or_absent(tmp_path: Path) -> None:
    assert newest(tmp_path) == newest(tmp_path / "absent") == (None, [])


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    save(tmp_path, 3, tensors(5.0), {})
    found, target = latest(tmp_path, print), tensors(0.0)
    assert found is not None
    load(found, target)
    assert target["step"] == 5.0


def test_a_checkpoint_gets_its_name_when_no_power_cut_could_empty_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, folder = Disk(monkeypatch), tmp_path / "checkpoints"
    saved(folder, 1)
    final = folder / "step-00000001"
    named = disk.when("rename", final)
    assert len(list(final.iterdir())) == 3
    for file in final.iterdir():  # all of its bytes, not those that had left a buffer so far
        assert disk.when("sync", file) < named, file
    assert disk.when("sync", final, after=disk.when("rename", final / "manifest.json")) < named
    assert disk.when("sync", tmp_path) < named
    assert disk.when("sync", folder, after=named)


def test_an_older_one_goes_when_no_power_cut_could_take_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1)
    disk, old = Disk(monkeypatch), (tmp_path / "step-00000001").stat().st_ino
    save(tmp_path, 2, tensors(2.0), {}, Keep(last=1))
    there = disk.when("sync", tmp_path, after=disk.when("rename", tmp_path / "step-00000002"))
    hidden, removed = disk.asked.index(("rename", old, 0)), disk.asked.index(("remove", old, 0))
    assert there < hidden < disk.when("sync", tmp_path, after=hidden) < removed


@pytest.mark.parametrize(("step", "left"), [(2, [1, 2]), (3, [2, 3])])
def test_a_kill_in_the_middle_of_a_removal_leaves_nothing_torn_under_a_checkpoints_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, left: list[int]
) -> None:
    saved(tmp_path, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", kill_in_removal)
        with pytest.raises(KilledError):
            saved(tmp_path, step)
    found = sorted(tmp_path.glob("step-*"))
    assert [int(path.name[-8:]) for path in found] == left
    for path in reversed(found):
        assert newest(tmp_path) == (int(path.name[-8:]), [])
        shutil.rmtree(path)
    saved(tmp_path, 9)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000009"]


def test_a_newer_one_that_is_torn_is_no_reason_to_remove_what_is_saved(tmp_path: Path) -> None:
    saved(tmp_path, 1, 9)
    (tmp_path / "step-00000009" / "manifest.json").unlink()
    for step in (2, 3):
        save(tmp_path, step, tensors(1.0), {}, Keep(last=1))
        assert newest(tmp_path)[0] == step


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("truncate", r"__0_0\.distcp has \d+ bytes instead of \d+"),
        ("flip", r"the content of __0_0\.distcp is not what was written"),
        ("flip index", r"the content of \.metadata is not what was written"),
        ("remove", r"__0_0\.distcp is missing"),
        ("no manifest", "it has no manifest"),
        ("half a manifest", "its manifest cannot be read"),
        ("strange manifest", "its manifest cannot be read"),
    ],
)
def test_a_harmed_checkpoint_is_passed_over_with_its_reason(tmp_path: Path, harm: str, reason: str) -> None:
    saved(tmp_path, 1, 2)
    folder = tmp_path / "step-00000002"
    file, manifest = next(folder.glob("*.distcp")), folder / "manifest.json"
    file = folder / ".metadata" if harm == "flip index" else file
    content = file.read_bytes()
    if harm == "truncate":
        file.write_bytes(content[:-1])
    elif harm.startswith("flip"):
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "remove":
        file.unlink()
    elif harm == "no manifest":
        manifest.unlink()
    elif harm == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    else:
        manifest.write_text(json.dumps(["not", "a", "manifest"]))
    step, said = newest(tmp_path)
    assert step == 1
    assert len(said) == 1
    assert re.fullmatch(f"passing over the checkpoint {folder}: {reason}", said[0])


def test_a_partial_folder_is_no_checkpoint_and_is_in_nobodys_way(tmp_path: Path) -> None:
    partial = tmp_path / ".step-00000002.partial"
    partial.mkdir()
    (partial / "leftover").write_text("from a killed process")
    assert newest(tmp_path) == (None, [])
    saved(tmp_path, 1)
    assert newest(tmp_path) == (1, [])
    saved(tmp_path, 2)
    assert newest(tmp_path) == (2, [])
    assert not (tmp_path / "step-00000002" / "leftover").exists()


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [({"other": torch.zeros(1)}, "'other' is missing there"), ({"weight": torch.zeros(4, 4)}, r"\(3, 4\).*\(4, 4\)")],
)
def test_a_checkpoint_of_another_model_is_refused(
    tmp_path: Path, wanted: dict[str, torch.Tensor], sentence: str
) -> None:
    saved(tmp_path, 1)
    found = latest(tmp_path, print)
    assert found is not None
    with pytest.raises(UserError, match=sentence):
        load(found, wanted)
