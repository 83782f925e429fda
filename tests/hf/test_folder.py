"""Folders: what is read, and each way they can be broken, in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mm1.config import UserError
from mm1.hf.folder import INDEX, WEIGHTS, HFFolder


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Two shards: a (2, 3) and b (4,)."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    save_file({"a": torch.arange(6.0).view(2, 3)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(4, dtype=torch.bfloat16)}, tmp_path / "two.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    return tmp_path


def test_shapes_and_tensors_of_shards_are_those_of_the_index(sharded: Path) -> None:
    folder = HFFolder(sharded)
    assert folder.config == {"model_type": "llama"}
    assert folder.shapes == {"a": (2, 3), "b": (4,)}
    assert torch.equal(folder.tensor("a"), torch.arange(6.0).view(2, 3))
    assert folder.tensor("b").dtype == torch.bfloat16


def test_one_file_needs_no_index(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    (sharded / "one.safetensors").rename(sharded / WEIGHTS)
    assert HFFolder(sharded).shapes == {"a": (2, 3)}
    with pytest.raises(UserError, match="has no tensor b"):
        HFFolder(sharded).tensor("b")


def test_the_weights_are_looked_for_only_when_they_are_needed(sharded: Path) -> None:
    (sharded / "two.safetensors").unlink()
    assert HFFolder(sharded).config["model_type"] == "llama"


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json does not exist"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not valid JSON"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), r"config\.json is not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), r"config\.json is not valid JSON"),
        (lambda folder: (folder / INDEX).write_text("{}"), "has no weight_map"),
        (lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "../a"}}'), "has no weight_map"),
        (
            lambda folder: (folder / INDEX).write_text('{"weight_map": {"c": "one.safetensors"}}'),
            r"one\.safetensors has no tensor c, which model\.safetensors\.index\.json says it has",
        ),
        (lambda folder: (folder / "two.safetensors").unlink(), r"two\.safetensors is missing, but .* names it"),
        (lambda folder: (folder / "two.safetensors").write_bytes(b"short"), r"two\.safetensors is not a whole"),
        (lambda folder: (folder / INDEX).unlink(), "holds no weights: it needs"),
    ],
)
def test_a_broken_folder_is_one_sentence(sharded: Path, breakage, said: str) -> None:
    breakage(sharded)
    with pytest.raises(UserError, match=said):
        HFFolder(sharded).shapes  # noqa: B018


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "tf_model.h5"])
def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.ones(1)}, tmp_path / name)
    with pytest.raises(UserError, match=rf"only as {name}.*save_pretrained\(DIR, safe_serialization=True\)"):
        HFFolder(tmp_path).shapes  # noqa: B018


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        HFFolder(tmp_path / "nowhere")
