"""The evaluations' files → the index of what is kept out of the sets, once for all processes.

    rules.json, left_out.json, *.npy     decontaminate.py

Later steps ask it: texts.py of pages, pictures.py of images, captions.py of what is said of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mm1.config import UserError
from mm1.curation.config import EvaluationsConfig
from mm1.curation.decontaminate import build_index
from mm1.curation.engine import Progress
from mm1.curation.evaluation_files import Found, read_evaluations

_TOLD_EVERY = 500


def index_evaluations(folder: Path, config: EvaluationsConfig, progress: Progress | None) -> None:
    """Fills the folder of the step.

    Raises:
        UserError: a file can not be read, or there is nothing in them all that can be looked for.
    """
    index = build_index(_told(config, progress), config.rules)
    if not len(index.hashes) and not index.runs:
        paths = ", ".join(map(str, config.paths))
        raise UserError(f"{paths}: {index.told()}: name files with images, or with longer texts")
    index.save(folder)


def _told(config: EvaluationsConfig, progress: Progress | None) -> Iterator[Found]:
    """What the files hold; each image takes milliseconds, so it is told how far it is."""
    number = 0
    for number, item in enumerate(read_evaluations(config.paths), 1):
        yield item
        if progress is not None and number % _TOLD_EVERY == 0:
            progress(0, 1, {"in": _TOLD_EVERY})
    if progress is not None:
        progress(1, 1, {"in": number % _TOLD_EVERY})
