"""Where the work of curation is done: daft on this machine, or on a Ray cluster.

    runner = Runner(processes=4)              # or Runner(ray="local"), Runner(ray="ray://head:10001")
    daft = start(runner)                      # for what asks daft itself: engine.py, groups.py

Knows nothing of parts.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from mm1.config import UserError

_KNOCK_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where the work is done."""

    processes: int = 1
    """Parts at a time; on Ray, of the whole cluster."""
    ray: str | None = None
    """None is this machine; "local" starts a Ray of `processes` CPUs on it, an address joins one that runs."""
    memory: int = 4 << 30
    """Bytes that a global count may take."""
    alone_bytes: int = 0
    """Pages of so few bytes are worked on by one process: starting more takes longer than the work."""


_started: tuple[Any, Runner] | None = None


def start(runner: Runner) -> Any:
    """Daft, set up for `runner`. A process has one kind of runner from then on.

    Raises:
        UserError: daft or Ray is not installed, or no Ray answers at the address.
    """
    global _started
    if _started is not None:
        assert _started[1].ray == runner.ray, "daft takes no second runner in one process"
        return _started[0]
    os.environ.update(DAFT_ANALYTICS_ENABLED="0", DO_NOT_TRACK="true", DAFT_PROGRESS_BAR="0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import daft
    except ImportError:
        raise UserError("curation needs daft, which is not installed: pip install 'mm1[curate]'") from None
    if runner.ray is not None:
        _start_ray(runner)
        daft.set_runner_ray(noop_if_initialized=True)
    else:
        daft.set_runner_native(num_threads=runner.processes)
        # The threads of its last query must be at rest when the interpreter goes, or one process in eight ends in a
        # segmentation fault (daft 0.6.14).
        atexit.register(time.sleep, 0.3)
    daft.set_execution_config(maintain_order=False)
    # It logs the failures that map_parts raises.
    logging.getLogger("daft_local_execution").setLevel(logging.CRITICAL)
    _started = daft, runner
    return daft


def _start_ray(runner: Runner) -> Any:
    if runner.ray == "local":  # what Ray takes by itself, and says so on the terminal unless it was asked for
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray, which is not installed: pip install 'mm1[curate,ray]'") from None
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if runner.ray == "local":
        ray.init(num_cpus=runner.processes, include_dashboard=False, **quiet)
        return ray
    try:
        _knock(str(runner.ray))
        ray.init(address=runner.ray, **quiet)
    except Exception as error:
        raise UserError(
            f"no Ray answers at {runner.ray} ({str(error).splitlines()[0]}): give the address of one that runs, or "
            "--ray local"
        ) from None
    return ray


def _knock(address: str) -> None:
    """Raises OSError where nobody listens, which Ray itself would find out in a minute and a half."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()


def cpus_of(ray: str) -> int:
    """How many parts a Ray cluster can work on at a time.

    Raises:
        UserError: Ray is not installed, or none answers at the address.
    """
    return max(1, int(_start_ray(Runner(ray=ray)).cluster_resources().get("CPU", 1)))
