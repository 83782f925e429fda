"""Checkpoints that are whole or absent: a torn, truncated or altered one is never taken for a checkpoint.

    FOLDER/step-00000050/    __0_0.distcp … .metadata   (torch.distributed.checkpoint: every rank writes its shards)
                             manifest.json              step, plain values, and size and SHA-256 of every file

`save` writes under a name that starts with a dot, reads the files back into the manifest, then renames the folder in
one step; `latest` takes the newest folder whose files agree with their manifest, and says which ones it passed over.
Tensors go through DCP, so that a run may go on with another number of ranks; everything else travels as JSON in the
manifest. DCP reads its own `.metadata` as a pickle, and a manifest vouches for wholeness, not for origin: go on only
from checkpoints of your own. Knows nothing of models or optimizers.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from mm1.config import UserError
from mm1.distributed.collectives import from_first_rank, gather_objects, num_ranks, wait_for_all
from mm1.files import write_atomically

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files were found to agree with its manifest."""

    path: Path
    step: int
    values: dict[str, Any]
    """What was saved beside the tensors: plain JSON."""


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any], keep: int = 2) -> Path:
    """Writes a checkpoint of `step` and removes all but the newest `keep`; a collective when there are many ranks.

    Args:
        folder: where the checkpoints stand; on storage that all ranks see.
        step: names the checkpoint; an existing one of the same step is replaced.
        tensors: plain tensors (equal on all ranks) or DTensors (sharded), by name.
        values: plain JSON, equal on all ranks.
        keep: how many checkpoints stay, this one included.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".{final.name}.partial"
    if _is_first():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    wait_for_all()
    with _quiet():
        state_dict_saver.save(dict(tensors), storage_writer=FileSystemWriter(partial), no_dist=num_ranks() == 1)
    files = _hash_together(partial)
    if _is_first():
        manifest = {"step": step, "files": files, "values": dict(values)}
        write_atomically(partial / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in _steps(folder)[keep:]:
            shutil.rmtree(old)
    wait_for_all()
    return final


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of `folder` that agrees with its manifest, on every rank the same; None if there is none.

    Each one passed over is reported through `say` in one sentence.
    """
    found: Checkpoint | None = None
    if _is_first():
        for path in _steps(folder):
            try:
                found = _verified(path)
                break
            except _TornError as error:
                say(f"passing over the checkpoint {path}: {error}")
    return from_first_rank(found)


def load(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
    """Fills `tensors` in place, whatever the number of ranks that wrote them.

    Raises:
        UserError: the checkpoint lacks one of them, or holds one of another shape.
    """
    reader = FileSystemReader(checkpoint.path)
    stored = reader.read_metadata().state_dict_metadata
    for name, tensor in tensors.items():
        size = tuple(getattr(stored.get(name), "size", ()))
        if name not in stored or size != tuple(tensor.shape):
            have = f"of shape {size}" if name in stored else "missing"
            raise UserError(
                f"{checkpoint.path} does not fit this model: '{name}' is {have} there and of shape "
                f"{tuple(tensor.shape)} here; train into another folder, or remove the checkpoint to start anew"
            )
    with _quiet():
        state_dict_loader.load(dict(tensors), storage_reader=reader, no_dist=num_ranks() == 1)


class _TornError(Exception):
    """Why a folder is not a checkpoint."""


def _verified(path: Path) -> Checkpoint:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        expected = {name: (int(size), str(digest)) for name, (size, digest) in manifest["files"].items()}
        checkpoint = Checkpoint(path=path, step=int(manifest["step"]), values=dict(manifest["values"]))
    except FileNotFoundError:
        raise _TornError("it has no manifest") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _TornError("its manifest cannot be read") from None
    for name, (size, digest) in expected.items():
        file = path / name
        if not file.is_file():
            raise _TornError(f"{name} is missing")
        if file.stat().st_size != size:
            raise _TornError(f"{name} has {file.stat().st_size} bytes instead of {size}")
        if _sha256(file) != digest:
            raise _TornError(f"the content of {name} is not what was written")
    return checkpoint


def _hash_together(folder: Path) -> dict[str, tuple[int, str]]:
    """(size, SHA-256) of every file, read back; the ranks share the reading."""
    names = sorted(file.name for file in folder.iterdir())
    rank = dist.get_rank() if num_ranks() > 1 else 0
    mine = {name: ((folder / name).stat().st_size, _sha256(folder / name)) for name in names[rank :: num_ranks()]}
    return {name: entry for part in gather_objects(mine) for name, entry in part.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _steps(folder: Path) -> list[Path]:
    """Folders that bear a checkpoint's final name, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _is_first() -> bool:
    return num_ranks() == 1 or dist.get_rank() == 0


class _quiet(warnings.catch_warnings):
    """DCP warns when it is used without a process group, which is how a run of one process means to use it."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
