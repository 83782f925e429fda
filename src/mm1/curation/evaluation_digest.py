"""What evaluations' files hold as one hash, without reading them at each start.

    digest_of([Path("vqa/")], out / "evaluations.json")     # reads all, and writes down what it saw
    digest_of([Path("vqa/")], out / "evaluations.json")     # looks at sizes and times of change

The hash is of the content, so files that moved keep it. It is believed as long as the same files are found, and those
that rows of them name beside them, with the sizes and times of change they had. Knows nothing of rules.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mm1.curation.decontaminate import digest
from mm1.curation.evaluation_files import files_of, read_evaluations
from mm1.files import write_atomically

About: TypeAlias = list[Any]
"""Path, size and time of change; zeros for what is not there."""


def digest_of(paths: Sequence[Path], record: Path) -> str:
    """The hash of what the files hold, from `record` where that is up to date; it is written where it is not.

    Raises:
        UserError: as `read_evaluations`.
    """
    found = [_about(path) for path in files_of(paths)]
    known = _read(record)
    if known is not None and known["found"] == found and all(_about(Path(one[0])) == one for one in known["beside"]):
        return str(known["digest"])
    beside: dict[Path, About] = {}
    items = read_evaluations(paths, lambda path: beside.setdefault(path, _about(path)))
    made = {"digest": digest(items), "found": found, "beside": list(beside.values())}
    record.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(record, (json.dumps(made) + "\n").encode())
    return str(made["digest"])


def _about(path: Path) -> About:
    try:
        about = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return [os.path.abspath(path), 0, 0]
    return [os.path.abspath(path), about.st_size, about.st_mtime_ns]


def _read(record: Path) -> dict[str, Any] | None:
    """None where nothing, or nothing whole, was written down."""
    try:
        known = json.loads(record.read_text())
        return known if {"digest", "found", "beside"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
