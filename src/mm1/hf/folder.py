"""A model folder as transformers saves it: config.json and safetensors, whole or in shards, read lazily.

    folder = HFFolder(Path("Llama-3.2-1B"))
    folder.config["model_type"]                                # "llama"
    folder.shapes["model.embed_tokens.weight"]                 # (128256, 2048), from the files' headers alone
    folder.tensor("model.embed_tokens.weight")                 # this tensor and no other is read

    config.json
    model.safetensors                                          or
    model.safetensors.index.json + model-00001-of-00002.safetensors + …

Nothing is unpickled: folders that hold only pickles are refused with the way to convert them. Knows nothing of what
the tensors mean, and does not need transformers.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mm1.config import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FOREIGN = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf")
"""Endings of weight files that are no safetensors."""


class HFFolder:
    """A folder with a config.json and the tensors beside it.

    Attributes:
        path: the folder.
        config: its config.json.

    Raises:
        UserError: there is no such folder, or its config.json is missing or is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"there is no folder {path}: give one that transformers' save_pretrained wrote")
        self.config: dict[str, Any] = read_json(self.path / CONFIG)
        self._open: dict[Path, Any] = {}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor by name.

        Raises:
            UserError: there are no safetensors, a shard is missing or damaged, or the index and a shard disagree.
        """
        return {name: tuple(self._file(path).get_slice(name).get_shape()) for name, path in self._places.items()}

    def tensor(self, name: str) -> Tensor:
        """Reads one tensor, in the dtype it is stored in, to the CPU.

        Raises:
            UserError: as `shapes`, or no tensor has this name.
        """
        if name not in self._places:
            raise UserError(f"{self.path} has no tensor {name}: copy the folder again, or save it anew")
        tensor: Tensor = self._file(self._places[name]).get_tensor(name)
        return tensor

    @cached_property
    def _places(self) -> dict[str, Path]:
        """The file of each tensor."""
        if (self.path / INDEX).is_file():
            return self._indexed()
        if (self.path / WEIGHTS).is_file():
            return dict.fromkeys(self._file(self.path / WEIGHTS).keys(), self.path / WEIGHTS)
        raise UserError(self._without_safetensors())

    def _indexed(self) -> dict[str, Path]:
        names = read_json(self.path / INDEX).get("weight_map")
        if not isinstance(names, dict) or not all(_is_file_name(shard) for shard in names.values()):
            raise UserError(f"{self.path / INDEX} has no weight_map from tensors to files: copy it again")
        held: dict[str, set[str]] = {}
        for shard in sorted(set(names.values())):
            held[shard] = set(self._file(self.path / shard).keys())
        for name, shard in names.items():
            if name not in held[shard]:
                raise UserError(f"{self.path / shard} has no tensor {name}, which {INDEX} says it has: copy both again")
        return {name: self.path / shard for name, shard in names.items()}

    def _file(self, path: Path) -> Any:
        """The safetensors file, opened once: its header is read now, its tensors when they are asked for."""
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="pt")
            except FileNotFoundError:
                raise UserError(f"{path} is missing, but {INDEX} names it: copy all shards of the model") from None
            except (SafetensorError, OSError) as error:
                raise UserError(f"{path} is not a whole safetensors file ({error}): copy it again") from None
        return self._open[path]

    def _without_safetensors(self) -> str:
        foreign = sorted(file.name for file in self.path.iterdir() if file.suffix in FOREIGN)
        if not foreign:
            return f"{self.path} holds no weights: it needs {WEIGHTS}, or {INDEX} and the shards that it names"
        return (
            f"{self.path} holds its weights only as {foreign[0]}, and mm1 reads only safetensors because a pickle can "
            "run any program: load it once with transformers in a sandbox, call "
            "save_pretrained(DIR, safe_serialization=True), and give DIR"
        )


def _is_file_name(value: Any) -> bool:
    """Whether `value` names a file of the same folder: an index from outside may not point elsewhere."""
    return isinstance(value, str) and value not in ("", ".", "..") and Path(value).name == value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: there is no such file, or it holds no JSON object.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a folder that transformers' save_pretrained wrote") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy it again") from None
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> dict[str, Any]:
    """The object in a text.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter of lists in lists in lists …
        raise UserError(f"{where} is not valid JSON ({error}): copy it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{where} is not a JSON object: copy it again")
    return values
