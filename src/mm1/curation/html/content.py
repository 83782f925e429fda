"""Which runs of a page are its content.

    1. Boxes that are named navigation, footer, sidebar … count for nothing, unless they hold most of the text.
    2. The content stands in what the page says is main (<main>, role=main, the one <article>), or else in the
       innermost box with nearly all of the text that counts.
    3. In there, navigation is left out; so is what stands beside (sidebars, comments) where it is mostly links.

Generic rules over text, links and names: none knows what made a page. Knows nothing of trees.
"""

from __future__ import annotations

from itertools import accumulate

from mm1.curation.html.runs import Box, Flat, Run
from mm1.curation.html.words import Mark, word_set

_OUTSIDE = Mark.NEVER | Mark.BESIDE | Mark.HIDDEN
_CONTAINERS = word_set("div section article td main center form body")
_MOST = 0.5
"""The share of a page's text from which a box is content, whatever its name."""
_NEARLY_ALL = 0.97
_NEARLY_ALL_NAMED = 0.93
"""… where its name says that it is content too."""
_IMAGE = 200
"""What an image counts that is no link, in characters."""
_LINK_DENSITY = 0.4
_BETWEEN = 4
"""Runs that may stand between a title and the content: author, date, links."""
_FEW = 40
"""Characters that are no sentence."""


def main_content(flat: Flat, *, declared: bool = False) -> list[Run]:
    """The runs of the content, in order.

    Args:
        flat: a page, or what it declares to be its main content.
        declared: which of the two.
    """
    return _Page(flat).content(declared)


class _Page:
    def __init__(self, flat: Flat) -> None:
        self.runs, self.boxes = flat.runs, flat.boxes
        self.marked = [box for box in flat.boxes if box.marks]
        self.chars = [0, *accumulate([len(run.text) for run in flat.runs])]
        self.links = [0, *accumulate([run.links for run in flat.runs])]
        self.everything = self.prose(0, len(flat.runs))

    def content(self, declared: bool) -> list[Run]:
        start, end = (0, len(self.runs)) if declared else self.declared() or self.densest()
        keep = [bool(run.text) or run.image is not None for run in self.runs]
        total = self.prose(start, end)
        outside = _OUTSIDE & ~Mark.HIDDEN if self.is_shown_later(start, end) else _OUTSIDE
        for box in self.marked:
            inside = start <= box.start < box.end <= end and keep[box.start]
            if inside and box.marks & outside and self.is_left_out(box, total):
                keep[box.start : box.end] = [False] * (box.end - box.start)
        return [self.runs[at] for at in range(start, end) if keep[at]]

    def prose(self, start: int, end: int) -> int:
        """Characters that stand in no link."""
        return self.chars[end] - self.chars[start] - self.links[end] + self.links[start]

    def declared(self) -> tuple[int, int] | None:
        """The runs that the page says are its main content."""
        for wanted, share in ((Mark.MAIN, 0.0), (Mark.ARTICLE, 0.6)):
            boxes = [box for box in self.marked if box.marks & wanted and box.end > box.start]
            if boxes:
                largest = max(boxes, key=lambda box: self.prose(box.start, box.end))
                if self.prose(largest.start, largest.end) >= share * self.everything:
                    return largest.start, largest.end
        return None

    def densest(self) -> tuple[int, int]:
        """The runs of the innermost box that holds nearly all text that counts."""
        counted = self.counted()
        total = counted[-1]
        start, end = 0, len(self.runs)
        if not total:
            return start, end
        for box in self.boxes:
            if box.tag in _CONTAINERS and start <= box.start and box.end <= end:
                share = _NEARLY_ALL_NAMED if box.marks & Mark.BODY else _NEARLY_ALL
                if counted[box.end] - counted[box.start] >= share * total:
                    start, end = box.start, box.end
        return self.title_before(start, counted), end

    def title_before(self, start: int, counted: list[int]) -> int:
        """Where the title begins that stands above the box of the content, or else the box."""
        for at in range(start - 1, max(start - 1 - _BETWEEN, -1), -1):
            if self.runs[at].kind == "heading" and counted[at + 1] > counted[at]:
                return at
        return start

    def counted(self) -> list[int]:
        """Sums of what counts before each run: prose and images that stand in no box that is named as no content."""
        prose = [len(run.text) - run.links if run.image is None else _IMAGE * (not run.links) for run in self.runs]
        done = 0
        for box in self.marked:
            if not box.marks & _OUTSIDE or box.end <= done:
                continue
            if self.is_index(box):
                prose[box.start : box.end] = [len(run.text) for run in self.runs[box.start : box.end]]
            elif self.prose(box.start, box.end) <= _MOST * self.everything:
                prose[box.start : box.end] = [0] * (box.end - box.start)
            else:
                continue
            done = box.end
        return [0, *accumulate(prose)]

    def is_index(self, box: Box) -> bool:
        """Whether it is the table of contents of a page that is nothing else."""
        chars = self.chars[box.end] - self.chars[box.start]
        return bool(box.marks & Mark.TOC) and not box.marks & Mark.NEVER and chars > _MOST * self.chars[-1]

    def is_left_out(self, box: Box, total: int) -> bool:
        prose = self.prose(box.start, box.end)
        links = self.links[box.end] - self.links[box.start]
        dense = links > _LINK_DENSITY * (prose + links)
        if box.marks & Mark.BY_ID and self.runs[box.start].kind == "heading" and not dense:
            return False
        if prose > _MOST * total or self.is_index(box):
            return False
        return bool(box.marks & (Mark.NEVER | Mark.HIDDEN)) or dense or prose < _FEW

    def is_shown_later(self, start: int, end: int) -> bool:
        """Whether most of the content is hidden: in tabs, of which a script shows one at a time."""
        hidden, done = 0, start
        for box in self.marked:
            if box.marks & Mark.HIDDEN and done <= box.start < box.end <= end:
                hidden += self.prose(box.start, box.end)
                done = box.end
        return hidden > _MOST * self.prose(start, end)
