"""So many a second, whoever asks: turns for threads that share one limit.

    pace = Pace(5, time.monotonic, time.sleep)
    pace.wait()           # returns when a fifth of a second has passed since the turn before
    pace.hold(30)         # nobody's turn comes for half a minute

Knows nothing of what the turns are for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pace:
    """Lets so many through in a second, one after the other, over all threads."""

    def __init__(self, per_second: float | None, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._gap = 0.0 if per_second is None else 1 / per_second
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Returns when it is the caller's turn."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now)
            self._next = turn + self._gap
        if turn > now:
            self._sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """Lets none through for so long."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
