"""The model that a command was told to load, as `--device`, `--dtype` and `--max-len` say.

loaded = load(folder, arguments)
loaded.model, loaded.name       # …, "sft 3f9a02c1d4e7 bfloat16"
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from mm1.checkpoint import open_checkpoint
from mm1.cli.options import at_least
from mm1.config import UserError
from mm1.distributed.mesh import default_device
from mm1.eval.model import MM1Model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Loaded:
    """A model that can be asked, and what tells it from every other."""

    model: MM1Model
    digest: str
    """Of its files, and the precision where it is not the weights' own."""
    name: str
    """The folder's, with the beginning of the digest, for records that people read."""


def load(folder: Path, arguments: Namespace) -> Loaded:
    """The model on the device and in the precision that were typed.

    Raises:
        UserError: as MM1Model.load, or there is no such device, or it does not compute so, or no length of text fits.
    """
    at_least(1, **{"--max-len": arguments.max_len})
    where = device(arguments.device)
    computed = dtype(arguments.dtype, where)
    model = MM1Model.load(folder, where, max_len=arguments.max_len, dtype=computed)
    checkpoint = open_checkpoint(folder)
    return Loaded(model, checkpoint.identity(computed), checkpoint.title(computed))


def device(name: str | None) -> torch.device:
    """The device of that name; CUDA where there is one when None."""
    try:
        found = default_device() if name is None else torch.device(name)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise UserError(f"--device is '{name}': give cpu or cuda")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device is {name}, but there is no CUDA here: leave it out, or give cpu")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device is {name}, but there are {torch.cuda.device_count()} here: give one from cuda:0")
    return found


def dtype(name: str, where: torch.device) -> torch.dtype:
    """The precision of that name.

    Raises:
        UserError: the device does not compute in it.
    """
    found = DTYPES[name]
    if where.type == "cuda" and found is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise UserError(f"--dtype is {name}, which this GPU does not compute in: leave it out")
    return found
