"""Weights on disk: safetensors, whole or not at all, loaded strictly, by part where a part is wanted.

    save_weights(model, folder / "model.safetensors")
    load_weights(mm1.image_encoder, clip_folder / "model.safetensors", prefix="image_encoder")

Tied matrices are one parameter of one name, so nothing is stored twice. Nothing is unpickled. Knows nothing of what the
tensors mean, of sharding, or of other projects' names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mm1.config import UserError

NAMED_IN_ERRORS = 10


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Writes every parameter and buffer; a reader finds the old file or the new one, never a part."""
    named = weights.state_dict() if isinstance(weights, nn.Module) else weights
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_weights(
    module: nn.Module, path: Path, prefix: str = "", leave_out: Callable[[str], bool] = lambda name: False
) -> None:
    """Fills `module`, in its own dtype and on its own device, from the tensors of `path` whose names start `prefix.`.

    Args:
        module: what is filled.
        path: a safetensors file.
        prefix: which part of the file.
        leave_out: says of a name without the prefix that `module` does well not to have it: it may be in the file.

    Raises:
        UserError: the file is missing or damaged, or its tensors under `prefix` are not exactly the module's in name
            and shape. The module is then untouched.
    """
    start = f"{prefix.rstrip('.')}." if prefix else ""
    own: Mapping[str, Tensor] = module.state_dict()
    assert not any(tensor.is_meta for tensor in own.values()), "give a meta module memory with to_empty first"
    try:
        with safe_open(path, framework="pt") as file:
            names = [name.removeprefix(start) for name in file.keys() if name.startswith(start)]  # noqa: SIM118
            names = [name for name in names if not leave_out(name)]
            shapes = {name: tuple(file.get_slice(start + name).get_shape()) for name in names}
            _check(own, shapes, f"{path}{f' under {start}' if start else ''}", type(module).__name__)
            with torch.no_grad():
                for name, tensor in own.items():
                    tensor.copy_(file.get_tensor(start + name))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the model.safetensors of a finished stage") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): make or copy it again") from None


def _check(own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str, what: str) -> None:
    complaints = [
        *(f"{name} is missing" for name in own if name not in shapes),
        *(f"{name} is not in the model" for name in shapes if name not in own),
        *(
            f"{name} is {shapes[name]} there but {tuple(tensor.shape)} in the model"
            for name, tensor in own.items()
            if name in shapes and shapes[name] != tuple(tensor.shape)
        ),
    ]
    if complaints:
        named = "; ".join(complaints[:NAMED_IN_ERRORS])
        more = f"; and {len(complaints) - NAMED_IN_ERRORS} more" if len(complaints) > NAMED_IN_ERRORS else ""
        raise UserError(f"{where} does not fit this {what}: {named}{more}: use the config that the file was saved with")
