"""What is written beside training may fail without ending it: a full disk, a tracker whose server is gone.

    log = Tolerant("metrics.jsonl could not be written", "metrics.jsonl is written again", say)
    log.attempt(write)      # False where `write` failed: said at the first failure, and when it works again

Nothing that fails here is needed to go on with the run. Knows nothing of what is written.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mm1.train.progress import Say

FULL = (errno.ENOSPC, errno.EDQUOT)


class Tolerant:
    """Attempts at one thing, again and again."""

    def __init__(self, failing: str, again: str, say: Say, errors: type[Exception] = OSError) -> None:
        """`failing` and `again` begin what is said; `errors` are those that training survives."""
        self._failing_words, self._again_words, self._say, self._errors = failing, again, say, errors
        self._is_failing = False

    def attempt(self, work: Callable[[], None]) -> bool:
        """Whether `work` was done."""
        try:
            work()
        except self._errors as error:
            if not self._is_failing:
                self._say(f"{self._failing_words} ({reason(error)}): training goes on, and it is tried again")
            self._is_failing = True
            return False
        if self._is_failing:
            self._say(self._again_words)
        self._is_failing = False
        return True


class Lines:
    """Appends lines to a file. Those for which there was no room are kept, and written first when there is again."""

    def __init__(self, path: Path, say: Say) -> None:
        self._path = path
        self._waiting: deque[bytes] = deque()
        self._writing = Tolerant(f"{path} could not be written", f"{path} is written again, without a gap", say)

    def append(self, line: str) -> None:
        """Adds `line`, which has no end of line."""
        self._waiting.append(line.encode() + b"\n")
        self._writing.attempt(self._write)

    def _write(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            while self._waiting:
                whole, rest = file.tell(), memoryview(self._waiting[0])
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError:
                    os.truncate(file.fileno(), whole)  # no half of a line stays
                    raise
                self._waiting.popleft()


def heedless_of_full_disks(say: Say) -> Say:
    """`say`, where what it prints may go to a file: a full disk silences it, and does not end what speaks."""

    def speak(line: str) -> None:
        try:
            say(line)
        except OSError as error:
            if error.errno not in FULL:
                raise

    return speak


def reason(error: Exception) -> str:
    """Why, in a line."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words.strip().partition("\n")[0] or type(error).__name__
