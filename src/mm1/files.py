"""Files that are there whole or not at all.

    write_atomically(folder / "index.json", data)     # a kill at any moment leaves the old index.json or the new one

Knows nothing of what is written.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `path` so that a reader sees the old content or the new one, never a part.

    Raises:
        OSError: no permission, no folder, no room, or `path` is a device or a pipe; it names the path.
    """
    if path.exists() and not path.is_file() and not path.is_dir():  # a rename would put a file in its place
        raise OSError(errno.EINVAL, "is no file but a device or a pipe", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with errors_naming(path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """What the file system complains of inside names `path`: a full disk names none, and a temporary name tells a user
    nothing.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal; read in pieces, whatever its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
