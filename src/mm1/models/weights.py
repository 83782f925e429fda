"""Weights on disk: safetensors, whole or not at all, loaded strictly, by part where a part is wanted.

    save_weights(model, folder / "model.safetensors")
    load_weights(mm1.image_encoder, clip_folder / "model.safetensors", prefix="image_encoder")

Tied matrices are one parameter of one name, so nothing is stored twice. Nothing is unpickled. Knows nothing of what the
tensors mean, of sharding, or of other projects' names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mm1.config import UserError

NAMED_IN_ERRORS = 10
Shape: TypeAlias = tuple[int, ...]


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Writes every parameter and buffer; a reader finds the old file or the new one, never a part.

    Raises:
        UserError: there is no room, or the file can not be written for another reason.
    """
    named = weights.state_dict() if isinstance(weights, nn.Module) else weights
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_tensors(tensors, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file in its place.

    Raises:
        UserError: there is no room, or the file can not be written for another reason.
    """
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # the library's own, even where the system said that the disk is full
        raise UserError(
            f"{path} can not be written ({error}): make room, or give a folder that can be written to"
        ) from None


def load_weights(
    module: nn.Module,
    path: Path,
    prefix: str = "",
    leave_out: Callable[[str], bool] = lambda name: False,
    put: Callable[[Tensor, Tensor], object] = Tensor.copy_,
) -> None:
    """Fills `module`, in its own dtype and on its own device, from the tensors of `path` whose names start `prefix.`.

    Args:
        module: what is filled.
        path: a safetensors file.
        prefix: which part of the file.
        leave_out: says of a name without the prefix that `module` does well not to have it: it may be in the file.
        put: copies a tensor of the file into one of the module's; another where those are shards.

    Raises:
        UserError: the file is missing or damaged, or its tensors under `prefix` are not exactly the module's in name
            and shape. The module is then untouched.
    """
    start = f"{prefix.rstrip('.')}." if prefix else ""
    own: Mapping[str, Tensor] = module.state_dict()
    assert not any(tensor.is_meta for tensor in own.values()), "give a meta module memory with to_empty first"
    stored = StoredTensors(path)
    names = [name.removeprefix(start) for name in stored if name.startswith(start)]
    shapes = {name: stored.shapes[start + name] for name in names if not leave_out(name)}
    if wrong := differences({name: tuple(tensor.shape) for name, tensor in own.items()}, shapes):
        where = f"{path}{f' under {start}' if start else ''} does not fit this {type(module).__name__}"
        raise UserError(f"{where}: {wrong}: use the config that the file was saved with")
    with torch.no_grad():
        for name, tensor in own.items():
            put(tensor, stored[start + name])


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a safetensors file, each read, to the CPU, whenever it is asked for.

    Attributes:
        shapes: of all, from the file's header.

    Raises:
        UserError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._file: Any
        try:
            self._file = safe_open(path, framework="pt")
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: give the model.safetensors of a finished stage") from None
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is not a whole safetensors file ({error}): make or copy it again") from None
        names: list[str] = self._file.keys()
        self.shapes: dict[str, Shape] = {name: tuple(self._file.get_slice(name).get_shape()) for name in names}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def differences(wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """What is missing, too much or misshapen among the `found` tensors, ten names at most; "" where nothing is."""
    complaints = [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} is not in the model" for name in found if name not in wanted),
        *(
            f"{name} is {found[name]} there but {shape} in the model"
            for name, shape in wanted.items()
            if found.get(name, shape) != shape
        ),
    ]
    more = len(complaints) - NAMED_IN_ERRORS
    return "; ".join(complaints[:NAMED_IN_ERRORS]) + (f"; and {more} more" if more > 0 else "")
