"""Runs of text and images as they are read, and the boxes (block elements) in which they stand.

    <div class=nav><a>Home</a></div><p>A cat. <img src=c.jpg></p>
    runs   0 "Home" (all of it links)   1 "A cat."   2 image c.jpg
    boxes  div [0, 1) aside   p [1, 3)

Knows nothing of trees or of which runs are the page's content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from mm1.curation.page import ImageRef, ParagraphKind

BREAK = "\x1f"
"""A line break among the parts of a paragraph: counts as whitespace there."""

_ENDS = frozenset(".:!?…;)。：！？；）")
_MOST_IN_CELL = 4
_UNSEEN = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ufeff\u00ad]")
"""Control characters, byte order marks, and hyphens that show only at the end of a line."""


@dataclass(slots=True)
class Run:
    """Text, or an image (whose text is empty)."""

    text: str
    kind: ParagraphKind
    links: int = 0
    """Characters of the text that stand in links; of an image, whether it is one."""
    image: ImageRef | None = None


@dataclass(slots=True)
class Box:
    """A block element, and the runs [start, end) in it."""

    tag: str
    marks: int
    kind: ParagraphKind
    """Of its text, where no box in it says more."""
    start: int
    end: int = -1
    """-1 while it is being read."""
    captions: list[tuple[int, int]] | None = None
    """Runs that are captions of images in it and have not found them yet."""


@dataclass(slots=True)
class Flat:
    """A page as lists. Boxes stand in the order in which they begin."""

    runs: list[Run]
    boxes: list[Box]


def spaced(text: str) -> str:
    """With single spaces and without control characters; otherwise as it came."""
    text = " ".join(text.split())
    return text if text.isprintable() else " ".join(_UNSEEN.sub("", text).split())


def lined(text: str) -> str:
    """Code: its lines and their indentation, without trailing spaces, blank lines around, and control characters."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return _UNSEEN.sub("", "\n".join(lines)).strip("\n")


class Paragraph:
    """The paragraph that is being read: text, line breaks and images in order.

    An image splits it, but not in the middle of a sentence: that image comes after the whole.
    """

    __slots__ = ("has_images", "links", "parts")

    def __init__(self) -> None:
        self.parts: list[str | Run] = []
        self.links = 0
        self.has_images = False

    def add_image(self, image: ImageRef, *, linked: bool) -> Run:
        run = Run("", "paragraph", int(linked), image)
        self.parts.append(run)
        self.has_images = True
        return run

    def last_is_break(self) -> bool:
        """Whether a line break, and only whitespace after it, stands at the end."""
        for part in reversed(self.parts[-2:]):
            if part == BREAK:
                return True
            if isinstance(part, Run) or not part.isspace():
                return False
        return False

    def close(self, kind: ParagraphKind, runs: list[Run]) -> None:
        """Moves what was read to the runs."""
        if not self.parts:
            return
        if self.has_images:
            self._split(kind, runs)
        elif text := spaced("".join(self.parts)):  # type: ignore[arg-type]  # all are text
            runs.append(Run(text, kind, min(self.links, len(text))))
        self.parts = []
        self.links = 0
        self.has_images = False

    def _split(self, kind: ParagraphKind, runs: list[Run]) -> None:
        last_text = max(
            (at for at, part in enumerate(self.parts) if isinstance(part, str) and part.strip()), default=-1
        )
        texts: list[str] = []
        held: list[Run] = []
        flowing = False
        for at, part in enumerate(self.parts):
            if isinstance(part, str):
                texts.append(part)
                if part == BREAK:
                    flowing = False
                elif stripped := part.rstrip():
                    flowing = stripped[-1] not in _ENDS
                continue
            held.append(part)
            if not (flowing and at < last_text):
                self._emit("".join(texts), held, kind, runs)
                texts, held, flowing = [], [], False
        self._emit("".join(texts), held, kind, runs)

    def _emit(self, text: str, images: list[Run], kind: ParagraphKind, runs: list[Run]) -> None:
        if text := spaced(text):
            links = min(self.links, len(text))
            self.links -= links
            runs.append(Run(text, kind, links))
        for image in images:
            image.kind = kind
        runs.extend(images)


def join_row(first: int, cells: list[int], runs: list[Run]) -> bool:
    """A table's row, if each of its cells is one plain text, becomes one run: `Canny | image, threshold`.

    Rows of tables that are there for the layout stay as they are. Returns whether it was joined.

    Args:
        first: the first run of the row.
        cells: the first run of each cell.
        runs: all so far.
    """
    if not 2 <= len(runs) - first <= _MOST_IN_CELL * len(cells):
        return False
    own = runs[first:]
    if len([run for run in own if run.image is None]) < 2 or [run for run in own if run.kind != "table"]:
        return False
    for start, end in pairwise([*cells, len(runs)]):
        if end - start > 1 and len([run for run in runs[start:end] if run.image is None]) > 1:
            return False
    joined: list[Run] = []
    for run in own:
        if joined and run.image is None and joined[-1].image is None:
            joined[-1].text += f" | {run.text}"
            joined[-1].links += run.links
        else:
            joined.append(run)
    runs[first:] = joined
    return True


def attach_captions(box: Box, runs: list[Run], *, figure: bool) -> None:
    """Gives captions to their images: a figure's only one to all of its images, others to those beside them.

    A caption without an image stays a paragraph; one that was given away leaves an empty run.
    """
    captions = box.captions or []
    for start, end in captions:
        text = " ".join(run.text for run in runs[start:end] if run.text)
        if not text:  # before images are looked for: those that get no caption would be passed again by the next
            continue
        if figure and len(captions) == 1:
            images = [run for run in runs[box.start :] if run.image is not None and not run.image.caption]
        else:
            images = _beside(runs, box.start, start, end)
        if not images:
            continue
        for run in images:
            assert run.image is not None
            run.image = replace(run.image, caption=text)
        for run in runs[start:end]:
            run.text, run.links = "", 0


def _beside(runs: list[Run], first: int, start: int, end: int) -> list[Run]:
    """The images just before a caption, or else the one in it or just after it."""
    before = start
    while before > first and _uncaptioned(runs[before - 1]):
        before -= 1
    return runs[before:start] or [run for run in runs[start : end + 1] if _uncaptioned(run)]


def _uncaptioned(run: Run) -> bool:
    return run.image is not None and not run.image.caption
