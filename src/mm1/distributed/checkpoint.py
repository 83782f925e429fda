"""Checkpoints that are whole or absent: a torn, truncated or altered one is never taken for a checkpoint.

    FOLDER/step-00000050/    __0_0.distcp … .metadata   (torch.distributed.checkpoint: every rank writes its shards)
                             manifest.json              step, plain values, and size and SHA-256 of every file

`save` writes under a name that starts with a dot, reads the files back into the manifest, then renames the folder in
one step, and removes older ones only when a power cut could not undo that; `latest` takes the newest folder whose files
agree with their manifest, and says which ones it passed over.
A disk that is full, or gone, is `CheckpointFailed` on all ranks at once, and what was written of it is removed.
Tensors go through DCP, so that a run may go on with another number of ranks; everything else travels as JSON in the
manifest. DCP reads its own `.metadata` as a pickle, and a manifest vouches for wholeness, not for origin: go on only
from checkpoints of your own. Knows nothing of models or optimizers.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from mm1.config import UserError
from mm1.distributed.collectives import from_first_rank, gather_objects, num_ranks
from mm1.files import sha256_of, write_atomically

T = TypeVar("T")

MANIFEST = "manifest.json"
PREFIX = "step-"


class CheckpointFailed(Exception):
    """A checkpoint could not be written: the file system's reason, the same on every rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which checkpoints stay."""

    last: int = 2
    """The newest of these."""
    every: int | None = None
    """And for good, those whose step is a multiple of this."""

    def superfluous(self, newest_first: Sequence[Path]) -> list[Path]:
        """Those of a folder's checkpoints that may go."""
        old = newest_first[self.last :]
        return [path for path in old if self.every is None or int(path.name.removeprefix(PREFIX)) % self.every]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files were found to agree with its manifest."""

    path: Path
    step: int
    values: dict[str, Any]
    """What was saved beside the tensors: plain JSON."""


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
    keep: Keep = Keep(),
    group: dist.ProcessGroup | None = None,
) -> Path:
    """Writes a checkpoint of `step` and removes those that `keep` leaves out; a collective when there are many ranks.

    Args:
        folder: where the checkpoints stand; on storage that all ranks see.
        step: names the checkpoint; an existing one of the same step is replaced.
        tensors: plain tensors (equal on all ranks) or DTensors (sharded), by name.
        values: plain JSON, equal on all ranks.
        keep: which checkpoints stay, this one among them.
        group: over which the ranks talk; None is training's own.

    Raises:
        CheckpointFailed: a rank's files could not be written; no checkpoint was made or removed.
    """
    final = folder / f"{PREFIX}{step:08d}"
    partial = folder / f".{final.name}.partial"
    try:
        _together(lambda: _make_room(folder, partial), group)
        _write(partial, tensors, group)
        files = {name: entry for part in _together(lambda: _hashes(partial), group) for name, entry in part.items()}
        _together(lambda: _appear(partial, final, {"step": step, "files": files, "values": dict(values)}, keep), group)
    except CheckpointFailed as failed:
        if _is_first():
            shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointFailed(f"{folder}: {failed}") from None
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
    _be_quiet()
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
        if sha256_of(file) != digest:
            raise _TornError(f"the content of {name} is not what was written")
    return checkpoint


def _together(work: Callable[[], T], group: dist.ProcessGroup | None) -> list[T]:
    """What `work` gives on every rank, when all are done; what the file system refuses one of them fails all."""
    done: T | None = None
    reason = ""
    try:
        done = work()
    except OSError as error:
        reason = error.strerror or str(error)
    outcomes = gather_objects((done, reason), group)
    for _, reason in outcomes:
        if reason:
            raise CheckpointFailed(reason)
    return [cast(T, outcome) for outcome, _ in outcomes]


def _make_room(folder: Path, partial: Path) -> None:
    """An empty folder to write to; what killed runs left of others goes."""
    if _is_first():
        for left in folder.glob(f".{PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        _sync(folder.parent)  # `folder` may be new


def _write(partial: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> None:
    _be_quiet()
    try:
        state_dict_saver.save(
            dict(tensors), storage_writer=_Writer(partial), process_group=group, no_dist=num_ranks() == 1
        )
    except CheckpointException as failed:
        errors = [error for error, _ in failed.failures.values()]
        if refusals := [error for error in errors if isinstance(error, OSError)]:
            raise CheckpointFailed(refusals[0].strerror or str(refusals[0])) from None
        raise


class _Writer(FileSystemWriter):
    """Writes as DCP does, and tells what the file system said, which torch's zip writer hides behind its own error."""

    def __init__(self, folder: Path) -> None:
        # What DCP syncs of .metadata is still empty: its bytes are in Python's buffer. So `_hashes` does it, for all.
        super().__init__(folder, sync_files=False)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            raise cause or error from None


def _appear(partial: Path, final: Path, manifest: Mapping[str, Any], keep: Keep) -> None:
    """The checkpoint gets its manifest and its name; then superfluous ones lose theirs, and go."""
    if not _is_first():
        return
    folder = final.parent
    write_atomically(partial / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    _sync(partial)
    gone = [_hidden(final)] if final.exists() else []
    os.replace(partial, final)
    _sync(folder)  # after a power cut this one is there, so others may go
    # Newer ones are torn, as training went on from an older one: they do not count, or this one might go.
    gone += [_hidden(old) for old in keep.superfluous([path for path in _steps(folder) if path.name <= final.name])]
    _sync(folder)  # and none of them has its name and only some of its files
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)


def _hidden(path: Path) -> Path:
    """A checkpoint under the name of one that is being removed."""
    hidden = path.with_name(f".{path.name}.removed")
    os.replace(path, hidden)
    return hidden


def _hashes(folder: Path) -> dict[str, tuple[int, str]]:
    """(size, SHA-256) of this rank's share of the files, read back once no power cut can take their content away."""
    names = sorted(file.name for file in folder.iterdir())
    rank = dist.get_rank() if num_ranks() > 1 else 0
    entries = {}
    for name in names[rank :: num_ranks()]:
        _sync(folder / name)
        entries[name] = ((folder / name).stat().st_size, sha256_of(folder / name))
    return entries


def _sync(path: Path) -> None:
    """Returns when the disk has a file's content, or a folder's list of names."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _steps(folder: Path) -> list[Path]:
    """Folders that bear a checkpoint's final name, newest first."""
    return sorted(folder.glob(f"{PREFIX}*"), reverse=True)


def _is_first() -> bool:
    return num_ranks() == 1 or dist.get_rank() == 0


def _be_quiet() -> None:
    """DCP warns when it is used without a process group, which is how a run of one process means to use it.

    For good, because Python's way of doing it for a while is not safe where training goes on in another thread.
    """
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
