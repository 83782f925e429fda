"""A benchmark's pictures, found by name and read when they are needed.

    pictures = Pictures(folder)
    pictures.read(row)       # Image(…), or Unaskable("missing image")
    pictures.digest(row)     # what tells whether two files are the same
    pictures.look(row)       # what tells, with `alike`, whether they show the same picture

The latest are kept in memory, for examples shared by many questions. Knows nothing of questions or answers.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from mm1.data.formats.reading import Unusable, picture_inside
from mm1.data.image import BadImage, read_image
from mm1.data.perceptual import SIDE, Look, look
from mm1.eval.episodes import Unaskable, digest_of
from mm1.eval.official.rows import Folder, Row
from mm1.types import Image

KEPT = 64
PIECE = 4096
"""Bytes that a mark reads at the beginning, in the middle and at the end of a file; short files are read whole."""


class Pictures:
    """The pictures of one folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder.path.resolve()
        self._places = list(folder.places)
        self._read = lru_cache(KEPT)(self._read_new)
        self._digests: dict[tuple[str, ...], str] = {}
        self._looks: dict[tuple[str, ...], Look] = {}
        self._marks: dict[tuple[str, ...], str] = {}

    def read(self, row: Row) -> Image:
        """The picture of a row, which decodes.

        Raises:
            Unaskable: "missing image", "unreadable image" (no picture, or a broken one), or what `reading` says of one
                that is too large or leads out of the folder.
        """
        return self._read(row.picture)

    def mark(self, names: tuple[str, ...]) -> str:
        """A hash of its file's size and of three pieces of it: unlike `digest`, quick enough for all rows.

        Empty where there is no file. Different pictures have different ones, unless they were made to deceive.
        """
        if names not in self._marks:
            try:
                place, name = self._find(names)
            except Unaskable:
                self._marks[names] = ""
            else:
                self._marks[names] = _mark(place / name)
        return self._marks[names]

    def digest(self, row: Row) -> str:
        """A hash of its bytes; raises as `read`."""
        if row.picture not in self._digests:
            self._digests[row.picture] = digest_of(self.read(row))
        return self._digests[row.picture]

    def look(self, row: Row) -> Look:
        """What it looks like, small; raises as `read`."""
        if row.picture not in self._looks:
            self.read(row)
        return self._looks[row.picture]

    def _read_new(self, names: tuple[str, ...]) -> Image:
        try:
            image = picture_inside(*self._find(names))
            self._looks[names] = look(read_image(image.data, SIDE))
        except Unusable as error:
            raise Unaskable(error.reason) from None
        except BadImage:
            raise Unaskable("unreadable image") from None
        return image

    def _find(self, names: tuple[str, ...]) -> tuple[Path, str]:
        for number, place in enumerate(self._places):
            for name in names:
                if (place / name).is_file():
                    # Where one was, the next one is.
                    self._places.insert(0, self._places.pop(number))
                    return place, name
        raise Unaskable("missing image")


def _mark(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        starts = (0,) if size <= PIECE else (0, (size - PIECE) // 2, size - PIECE)
        content = hashlib.blake2b(str(size).encode(), digest_size=8)
        for start in starts:
            file.seek(start)
            content.update(file.read(PIECE))
    return content.hexdigest()
