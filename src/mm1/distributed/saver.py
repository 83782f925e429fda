"""Checkpoints written beside training: a step waits for a copy in memory, not for files.

    with Saver(folder, Keep(last=2)) as saver:
        saver.begin(step, tensors, values)      # copies, then a thread writes; training goes on
        saver.wait()                            # returns when it is written, or raises why it is not

A copy holds this rank's share of all tensors in the host's memory: for float32 weights and AdamW's moments 12 bytes a
parameter, divided among the ranks that shard it. With CUDA it is pinned and kept from one checkpoint to the next; on
the CPU it lives while it is written. One checkpoint is in flight at a time. Knows nothing of models, nor of when to
save.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.staging import BlockingAsyncStager

from mm1.distributed.checkpoint import Keep, save
from mm1.distributed.collectives import talks_beside


class Saver:
    """Writes the checkpoints of one folder. With many ranks all make one, and call it alike."""

    def __init__(self, folder: Path, keep: Keep, *, pinned: bool = False) -> None:
        """`pinned` says whether tensors are copied from CUDA; making a group of the ranks is a collective."""
        self._folder = folder
        self._keep = keep
        self._stager = BlockingAsyncStager(cache_staged_state_dict=pinned)
        self._group = talks_beside()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None
        self.step = 0
        """Of the checkpoint begun last."""

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Waits for what is in flight, whatever ends training; what became of it is for `wait` to say."""
        self._thread.shutdown(wait=True)

    @property
    def is_busy(self) -> bool:
        """Whether files are being written at this moment."""
        return self._writing is not None and not self._writing.done()

    def begin(self, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Copies `tensors` and `values` as they are now and has them written; the one before must have been waited for.

        Arguments are those of `checkpoint.save`.
        """
        assert self._writing is None, "a checkpoint is in flight"
        copies = self._stager.stage(dict(tensors))
        frozen = json.loads(json.dumps(dict(values)))
        self.step = step
        self._writing = self._thread.submit(save, self._folder, step, copies, frozen, self._keep, self._group)

    def wait(self) -> bool:
        """Returns when nothing is in flight; whether something was, and is now written.

        Raises:
            CheckpointFailed: what was in flight could not be written; told once.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
        return writing is not None
