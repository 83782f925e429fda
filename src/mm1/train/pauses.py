"""Why training stood still: waits of more than a second for data, of any rank, in the log and in the line.

    pretrain  120/690 · loss 1.234 · 4,512 tokens/s · data 21% · remaining 2:10 · paused 12 s for data

What to do about it is said at the first one of the first rank. Waits for checkpoints are told where they happen
(`checkpoints.py`). Knows nothing of what prepares data.
"""

from __future__ import annotations

from mm1.train.loop import StepInfo
from mm1.train.progress import Say

PAUSE = 1.0
"""Seconds of standing still that a person is told of."""


class Pauses:
    """A hook that counts this rank's long waits for data; it comes before the log, which sums them over the ranks."""

    def __init__(self, waited: float, say: Say) -> None:
        """`waited` is what the clock has counted for data before the first step."""
        self._before = waited
        self._say = say
        self._is_told = False

    def on_step(self, info: StepInfo) -> None:
        waited = info.state.clock.seconds["data"]
        pause, self._before = waited - self._before, waited
        if pause <= PAUSE:
            return
        info.state.tally.add_pause(pause)
        if not self._is_told:
            self._say(
                f"step {info.step} waited {pause:.1f} s for data: the first wait of a start is for its processes to "
                "begin; if more follow, raise num_workers or put the shards on faster storage"
            )
        self._is_told = True
