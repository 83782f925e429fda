"""That another rank died, in one sentence instead of a library's error about a broken connection.

    with telling_of_deaths():
        train(…)                # gloo: "Connection closed by peer"  →  RankLost: another rank ended …

Ranks that vanish without breaking a connection are heartbeat.py's, processes that prepare batches are data/loader.py's.
Knows these errors by their words, since torch gives them no class of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from mm1.distributed.lost import RankLost

BROKEN = re.compile(
    r"gloo/transport|Connection (closed|reset) by peer|NCCL communicator was aborted|remote process exited"
)


@contextmanager
def telling_of_deaths() -> Iterator[None]:
    """Turns the errors that a rank's death causes in others into a RankLost."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistNetworkError) or BROKEN.search(str(error)):
            raise RankLost(
                "another rank ended in the middle of the work, and its own last words say why: the same command goes "
                "on from the last checkpoint"
            ) from error
        raise
