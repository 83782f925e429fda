"""A model on disk: a folder with its shape, its weights and its tokenizer, which every command understands.

    config.json             {"model": {…}, "data": {"sub_images": {…}}}; a finished stage's says more, and this too
    model.safetensors       every tensor, by the model's own names
    tokenizer.json          and tokenizer_config.json, where its special tokens have names of their own

    checkpoint = open_checkpoint(Path("runs/tiny/sft"))
    model = checkpoint.load_model()

Knows nothing of how a model is trained, nor of other projects' layouts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mm1.config import Config, UserError, from_json, to_json
from mm1.data.sub_images import SubImagesConfig
from mm1.data.tokenizer import TOKENIZER_CONFIG, Tokenizer
from mm1.files import sha256_of, write_atomically
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.weights import StoredTensors, differences, load_weights, save_weights

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


class DataPart(Config):
    """What the model's images went through."""

    sub_images: SubImagesConfig = SubImagesConfig()


class CheckpointConfig(Config):
    """What config.json says of a model."""

    model: MM1Config
    data: DataPart = DataPart()


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds a model. The weights are read by `load_model`, the tokenizer when it is asked for."""

    folder: Path
    config: CheckpointConfig

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            UserError: it is missing or damaged.
        """
        return Tokenizer(self.folder / TOKENIZER)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model's shape, tokenizer and weights."""
        shape = json.dumps(to_json(self.config), sort_keys=True)
        return hashlib.sha256(f"{shape} {self.tokenizer.digest} {sha256_of(self.weights)}".encode()).hexdigest()

    def identity(self, dtype: torch.dtype = torch.float32) -> str:
        """What tells the model, computing in `dtype`, from every other."""
        return self.digest + _rounded(dtype)

    def title(self, dtype: torch.dtype = torch.float32, name: str | None = None) -> str:
        """The folder's name, or the one given, with the beginning of the identity: for records that people read."""
        return f"{name or self.folder.resolve().name} {self.digest[:12]}{_rounded(dtype)}"

    def tensors(self) -> StoredTensors:
        """Every tensor of the model, in the dtype it is stored in, read when it is asked for.

        Raises:
            UserError: the weights are missing, damaged, or not those of the config.
        """
        stored = StoredTensors(self.weights)
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in MM1(self.config.model).state_dict().items()}
        if wrong := differences(wanted, stored.shapes):
            raise UserError(f"{self.weights} does not fit the {CONFIG} beside it: {wrong}: make or copy both again")
        return stored

    def load_model(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> MM1:
        """The model with its weights, in `dtype` on `device`.

        Raises:
            UserError: the weights are missing, damaged, or not those of the config.
        """
        with torch.device("meta"):
            model = MM1(self.config.model).to(dtype)
        model.to_empty(device=device)
        load_weights(model, self.weights)
        return model


def _rounded(dtype: torch.dtype) -> str:
    return "" if dtype is torch.float32 else f" {str(dtype).removeprefix('torch.')}"


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`: one that `mm1 import` wrote, or a finished stage of a run.

    Raises:
        UserError: there is none, or its config is damaged or of a model that is no MM1.
    """
    path = Path(folder) / CONFIG
    try:
        values = json.loads(path.read_text())
    except OSError:
        raise UserError(
            f"{path} does not exist: give the folder of a checkpoint, such as a run's finished sft"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): make or copy it again") from None
    kind = _get(_get(values, "model"), "kind")
    if kind != "mm1":
        what = f"a model of kind '{kind}'" if kind else "no model of mm1's"
        raise UserError(f"{path} describes {what}: give a checkpoint of kind 'mm1' (or make one with `mm1 import`)")
    known = {"model": values["model"], "data": {"sub_images": _get(values.get("data"), "sub_images") or {}}}
    return Checkpoint(Path(folder), from_json(CheckpointConfig, known, str(path)))


def _get(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None


def save_checkpoint(
    folder: Path, config: CheckpointConfig, weights: nn.Module | Mapping[str, Tensor], tokenizer: Path
) -> Checkpoint:
    """Writes a checkpoint, whole or not at all; `tokenizer` is the tokenizer.json that goes with it.

    Raises:
        UserError: `folder` is there already.
    """
    with new_folder(folder) as partial:
        write_atomically(partial / CONFIG, (json.dumps(to_json(config), indent=2) + "\n").encode())
        save_weights(weights, partial / WEIGHTS)
        copy_tokenizer(tokenizer, partial)
    return Checkpoint(folder, config)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to write into, which becomes `folder` at the end of the block, or is removed on an error, and
    with it those above that were not there.

    Raises:
        UserError: `folder` is there already: nothing was done.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already: name a folder that is not, or remove it")
    with _parents(folder):
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield partial
            for file in partial.iterdir():  # safetensors and mkdtemp make theirs for their owner alone
                file.chmod(0o644)
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Makes the folders above `folder`, and removes those that were made if nothing is in them at the end."""
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with suppress(OSError):  # from the first on that something is in
            for parent in new:
                parent.rmdir()


def copy_tokenizer(path: Path, folder: Path) -> None:
    """Puts a tokenizer.json and what stands beside it into `folder`, each whole or not at all."""
    write_atomically(folder / TOKENIZER, path.read_bytes())
    if (names := path.with_name(TOKENIZER_CONFIG)).exists():
        write_atomically(folder / TOKENIZER_CONFIG, names.read_bytes())
