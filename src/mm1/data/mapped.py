"""Files as memory, without a descriptor held: a process may map far more files than it may have open."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa


def mapped(path: Path) -> pa.Buffer:
    """The content of `path`, memory-mapped; it is unmapped when the last view of it is gone."""
    if path.stat().st_size == 0:  # which can not be mapped
        return pa.py_buffer(b"")
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()
