"""Processes of torchrun, as a user would start them, for measurements that need several.

    with started(2, "mm1.cli", ["train", "tiny", "--stage", "pretrain"]) as launched:
        for line in launched.stdout: ...

They are a session of their own, and none outlives the measurement. Knows nothing of what they do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mm1.bench.children import environment
from mm1.config import UserError


@contextmanager
def started(processes: int, module: str, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """`torchrun --nproc-per-node PROCESSES -m MODULE ARGUMENTS`; what they print comes together as `stdout`."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    with subprocess.Popen(
        [sys.executable, *launcher, module, *arguments],
        env=environment(OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as launched:
        try:
            yield launched
        finally:
            kill(launched)


def run(processes: int, module: str, arguments: Sequence[str]) -> None:
    """The same, to its end.

    Raises:
        UserError: it failed; its last words are in the sentence.
    """
    with started(processes, module, arguments) as launched:
        said, _ = launched.communicate()
        if launched.returncode:
            last = "\n".join(said.strip().splitlines()[-30:])
            raise UserError(f"{processes} processes of {module} ended with code {launched.returncode}: {last}")


def kill(launched: subprocess.Popen[str]) -> None:
    """SIGKILL to the launcher and all that it started, as when a machine is taken away."""
    for session in _sessions(launched.pid):
        try:
            os.killpg(session, signal.SIGKILL)
        except ProcessLookupError:
            continue
    launched.wait()


def _sessions(launcher: int) -> list[int]:
    """Process groups of the launcher and of its ranks, which torchrun makes leaders of their own."""
    try:
        with open(f"/proc/{launcher}/task/{launcher}/children") as file:
            return [*map(int, file.read().split()), launcher]
    except OSError:
        return [launcher]
