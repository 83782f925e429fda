"""The model that a command was told to load, as `--device`, `--dtype` and `--max-len` say.

loaded = load(folder, arguments)
loaded.model, loaded.name       # …, "sft 3f9a02c1d4e7 bfloat16"
"""

from __future__ import annotations

import hashlib
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from mm1.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from mm1.config import UserError
from mm1.eval.model import MM1Model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Loaded:
    """A model that can be asked, and what tells it from every other."""

    model: MM1Model
    digest: str
    """Of all its files, and the precision where it is not the weights' own."""
    name: str
    """The folder's, with the beginning of the digest, for records that people read."""


def load(folder: Path, arguments: Namespace) -> Loaded:
    """The model on the device and in the precision that were typed.

    Raises:
        UserError: as MM1Model.load, or there is no such device, or it does not compute so.
    """
    where = device(arguments.device)
    model = MM1Model.load(folder, where, max_len=arguments.max_len, dtype=dtype(arguments.dtype, where))
    content, rounded = _content(folder), "" if arguments.dtype == "float32" else f" {arguments.dtype}"
    return Loaded(model, f"{content}{rounded}", f"{folder.name} {content[:12]}{rounded}")


def device(name: str | None) -> torch.device:
    """The device of that name; CUDA where there is one when None."""
    there = torch.cuda.is_available()
    try:
        found = torch.device(name or ("cuda" if there else "cpu"))
    except RuntimeError:
        raise UserError(f"--device is '{name}': give cpu or cuda") from None
    if found.type == "cuda" and not there:
        raise UserError(f"--device is {name}, but there is no CUDA here: leave it out, or give cpu")
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


def _content(folder: Path) -> str:
    content = hashlib.sha256()
    for name in (CONFIG, TOKENIZER, WEIGHTS):
        with (folder / name).open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()
