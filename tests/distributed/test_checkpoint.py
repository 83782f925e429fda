from __future__ import annotations

import json
import resource
from pathlib import Path

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


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "no manifest", "half a manifest", "strange manifest"])
def test_a_harmed_checkpoint_is_passed_over_with_its_reason(tmp_path: Path, harm: str) -> None:
    saved(tmp_path, 1, 2)
    folder = tmp_path / "step-00000002"
    file, manifest = next(folder.glob("*.distcp")), folder / "manifest.json"
    content = file.read_bytes()
    if harm == "truncate":
        file.write_bytes(content[:-1])
    elif harm == "flip":
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
    assert str(folder) in said[0]


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
