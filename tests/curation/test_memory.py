"""Memory as the kernel counts it: what is written to counts, what is mapped counts apart, what was freed goes back."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mm1.curation.memory import give_back, held

MB = 1 << 20


def test_what_is_written_to_is_anonymous_and_what_is_mapped_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(32 * MB))
    before = held()
    written = mmap.mmap(
        -1, 32 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )  # not from the heap, which may hold as much that was freed
    written.write(bytes(range(1, 255)) * (32 * MB // 254))
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert not np.frombuffer(mapped, np.uint8).any()
        after = held()
    assert after.anonymous - before.anonymous == pytest.approx(32 * MB, rel=0.1)
    assert after.file - before.file == pytest.approx(32 * MB, rel=0.1)


def test_other_processes_are_asked_by_number() -> None:
    assert held(os.getpid()).file == pytest.approx(held().file, rel=0.1)
    with pytest.raises(FileNotFoundError):
        held(2**30)


def test_freed_pieces_between_what_is_in_use_go_back() -> None:
    """Pieces of 8 kB from Arrow and from glibc, of which every hundredth stays."""
    give_back()
    before = held().anonymous
    pieces = [pa.array(np.ones(1000)) for _ in range(10_000)] + [np.ones(1000) for _ in range(10_000)]
    full = held().anonymous - before
    pieces = pieces[::100]
    give_back()
    assert full > 80 * MB, "160 MB of pieces, some of which may lie where earlier tests' memory was"
    assert held().anonymous - before < full / 2
