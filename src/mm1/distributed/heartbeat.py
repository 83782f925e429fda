"""A rank that is gone is noticed, even where nobody else says so: no connection that breaks, no launcher that watches.

    rank 0 ──watches──→ rank 1 ──watches──→ … ──→ rank N-1 ──watches──→ rank 0

Every rank counts in the store that all share, which rank 0 or the launcher keeps, and looks whether its neighbour still
does. Who finds a neighbour silent for `PATIENCE` says so, leaves a word for the others, and ends its process; the
others read the word and end theirs in silence. Who ends because a connection broke leaves the same word. A rank that
waits in a collective could do neither by itself: it would wait until the process group's limit, which is half an hour.
A count stops when a process or its machine is gone or stopped, not while one computes, however long. Knows nothing of
what the ranks do.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from torch.distributed import DistNetworkError
from torch.distributed.distributed_c10d import Store

from mm1.distributed.lost import EX_UNAVAILABLE, RankLost

PERIOD = 5.0
"""Seconds from one count to the next."""
PATIENCE = 40.0
"""Seconds of silence after which a rank is taken for gone; with the periods of both sides, less than a minute."""
LOST, LEFT = "lost", "left"


class Heartbeat:
    """Counts for this rank and watches its neighbour, from `with` to its end."""

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        *,
        period: float = PERIOD,
        patience: float = PATIENCE,
        tell: Callable[[str], None] | None = None,
        leave: Callable[[], None] | None = None,
    ) -> None:
        """`store` is this object's alone: a clone of what the ranks share. `leave` ends the process."""
        self._store, self._rank, self._size = store, rank, size
        self._period, self._patience = period, patience
        self._tell, self._leave = tell or _tell, leave or _leave
        self._neighbour = (rank + 1) % size
        self._heard = self._answered = time.monotonic()
        self._over = threading.Event()
        self._last_word = (f"count/{rank}", LEFT)
        self._has_told = False
        # Two threads, because one that talks to a store whose machine is gone may wait for minutes.
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._talk, self._watch)]

    def __enter__(self) -> Heartbeat:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, RankLost):
            self._last_word = (LOST, "a rank")
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=self._period)

    def _talk(self) -> None:
        """Counts, and hears the neighbour's count and whether anybody is lost."""
        count, seen = 0, b""
        mine, theirs = f"count/{self._rank}", f"count/{self._neighbour}"
        while not self._over.wait(self._period):
            count += 1
            try:
                self._store.set(mine, str(count))
                if self._store.check([LOST]) and not self._has_told:  # the word of another, who tells
                    self._leave()
                    return
                heard = self._store.get(theirs) if self._store.check([theirs]) else b""
            except DistNetworkError:  # a store does not connect again, and torch writes a page for each attempt
                return
            except RuntimeError:  # whoever holds the store is slow or gone
                continue
            self._answered = time.monotonic()
            if heard not in (seen, b"") or heard == LEFT.encode():
                seen, self._heard = heard, self._answered
        self._say(*self._last_word)

    def _watch(self) -> None:
        while not self._over.wait(self._period):
            for heard, who in ((self._answered, "rank 0"), (self._heard, f"rank {self._neighbour}")):
                if time.monotonic() - heard > self._patience:
                    self._has_told = True  # before this process can read its own word
                    self._tell(
                        f"{who} of {self._size} has given no sign for {self._patience:.0f} s, its process or machine "
                        f"is gone or stopped: rank {self._rank} ends; the same command goes on from the last checkpoint"
                    )
                    threading.Thread(target=self._say, args=(LOST, who), daemon=True).start()
                    self._over.wait(self._period)  # for the word to arrive, if there is a way
                    self._leave()
                    return

    def _say(self, key: str, value: str) -> None:
        try:
            self._store.set(key, value)
        except RuntimeError:  # nobody is there to read it
            return


def _tell(sentence: str) -> None:
    print(f"mm1: {sentence}", file=sys.stderr, flush=True)


def _leave() -> None:
    """Ends the process, whose main thread may be waiting where nothing reaches it."""
    os._exit(EX_UNAVAILABLE)
