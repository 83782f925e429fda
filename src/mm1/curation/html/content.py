"""Which runs of a page are its content.

    1. Where it says itself what is main (<main>, role=main, one <article>), only that counts.
    2. Boxes that are named navigation, footer, sidebar … are left out, unless they hold most of the text.
    3. Where nothing says what is main: boxes that are mostly links are left out, unless the page is mostly links.

Generic rules over text, links and names: none knows what made a page. Knows nothing of trees.
"""

from __future__ import annotations

from itertools import accumulate

from mm1.curation.html.runs import Box, Flat, Run
from mm1.curation.html.words import Mark

_LINK_DENSITY = 0.75


def main_content(flat: Flat) -> list[Run]:
    """The runs of the content, in order."""
    return _Page(flat).content()


class _Page:
    def __init__(self, flat: Flat) -> None:
        self.runs, self.boxes = flat.runs, flat.boxes
        self.chars = [0, *accumulate(len(run.text) for run in flat.runs)]
        self.links = [0, *accumulate(run.links for run in flat.runs)]
        self.keep = [True] * len(flat.runs)

    def content(self) -> list[Run]:
        start, end, certain = self.scope()
        total = self.prose(start, end)
        for box in self.boxes:
            if box.start < start or box.end > end or box.start == box.end or not self.keep[box.start]:
                continue
            if self.is_aside(box, total, certain):
                self.keep[box.start : box.end] = [False] * (box.end - box.start)
        return [
            run
            for run, keep in zip(self.runs[start:end], self.keep[start:end], strict=True)
            if keep and (run.text or run.image is not None)
        ]

    def prose(self, start: int, end: int) -> int:
        """Characters that stand in no link."""
        return self.chars[end] - self.chars[start] - self.links[end] + self.links[start]

    def scope(self) -> tuple[int, int, bool]:
        """The runs that the page says are its main content, and whether it says so."""
        everything = self.prose(0, len(self.runs))
        for wanted, share in ((Mark.MAIN, 0.1), (Mark.ARTICLE, 0.6)):
            boxes = [box for box in self.boxes if box.marks & wanted and box.end > box.start]
            if boxes:
                largest = max(boxes, key=lambda box: self.prose(box.start, box.end))
                if self.prose(largest.start, largest.end) >= share * everything:
                    return largest.start, largest.end, True
        return 0, len(self.runs), False

    def is_aside(self, box: Box, total: int, certain: bool) -> bool:
        prose = self.prose(box.start, box.end)
        if box.marks & (Mark.ASIDE | Mark.HIDDEN):
            return prose <= 0.5 * total
        if box.marks & Mark.HEAD and not certain:
            return prose <= 0.3 * total
        return False
