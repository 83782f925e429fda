"""What memory this process holds, and giving back what its allocators keep for later.

    give_back()              # after each part
    held().anonymous         # bytes that the process has written to, and that only it can free

Allocators keep what was freed, in pieces between what is still in use, and take more where no piece is long enough: a
process that works on part after part would grow for hundreds of them without holding more. Files that are mapped are
counted apart: the kernel takes their pages back when it likes, so they bound nothing. Knows nothing of parts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process, in bytes."""

    anonymous: int
    """Heaps and stacks: what would have to be swapped out."""
    file: int
    """Of mapped files (libraries, lookups, stored images), as much as is in memory now."""


def held(process: int | str = "self") -> Memory:
    """What a process of this machine holds; Linux tells it.

    Raises:
        OSError: there is no such process.
    """
    lines = (line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines())
    sizes = {words[0]: int(words[1]) * 1024 for words in lines if words and words[0] in ("RssAnon:", "RssFile:")}
    return Memory(sizes.get("RssAnon:", 0), sizes.get("RssFile:", 0))


def give_back() -> None:
    """Gives the operating system what this process has freed. Takes about a millisecond."""
    pa.default_memory_pool().release_unused()
    _trim()(0)


@cache
def _trim() -> Callable[[int], Any]:
    """The C library's `malloc_trim`; others than glibc have none, and keep little."""
    trim: Callable[[int], Any] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)
    return trim
