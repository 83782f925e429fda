"""The pass over a parsed page that makes its runs and boxes: each element once, in order, without recursion.

Knows what elements mean; not which of them are the page's content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from selectolax.lexbor import LexborNode

from mm1.curation.html.images import Attributes, read_image
from mm1.curation.html.runs import BREAK, Box, Flat, Paragraph, Run, attach_captions, join_row, lined
from mm1.curation.html.words import ACTS, HEADINGS, PLAIN, Act, Mark, mark, unseen
from mm1.curation.page import ImageRef, ParagraphKind

_KINDS: Mapping[str, ParagraphKind] = {
    **dict.fromkeys(HEADINGS, "heading"),
    "li": "list",
    "blockquote": "quote",
    "table": "table",
}
_LONGEST_SIGN = 2
_LONGEST_CAPTION = 2000
_BLOCKS = frozenset((Act.BLOCK, Act.CELL, Act.ROW))


def flatten(root: LexborNode, base: str) -> Flat:
    """What a reader sees of an element.

    Args:
        root: usually the body.
        base: against which addresses of images count.
    """
    walk = _Walk(base)
    walk.read(root)
    return Flat(walk.runs, walk.boxes)


class _Walk:
    def __init__(self, base: str) -> None:
        self.base = base
        self.runs: list[Run] = []
        self.boxes: list[Box] = []
        self.open: list[Box] = []
        self.kinds: list[ParagraphKind] = ["paragraph"]
        self.paragraph = Paragraph()
        self.links: list[tuple[int, LexborNode]] = []
        self.sources: list[Attributes] = []
        self.figures = 0
        self.last_image: ImageRef | None = None
        """The one after which nothing has been read yet."""
        self.enters: dict[Act, Callable[[LexborNode, str], bool]] = {
            Act.INLINE: self.enter_inline,
            Act.BLOCK: self.enter_block,
            Act.CELL: self.enter_block,
            Act.ROW: self.enter_block,
            Act.LINK: self.enter_link,
            Act.BREAK: self.enter_break,
            Act.RULE: self.enter_rule,
            Act.IMAGE: self.enter_image,
            Act.PICTURE: self.enter_picture,
            Act.SOURCE: self.enter_source,
            Act.NOSCRIPT: self.enter_noscript,
            Act.CODE: self.enter_code,
            Act.MATH: self.enter_math,
        }

    def read(self, root: LexborNode) -> None:
        """Depth first; `above` holds what was entered and not left."""
        above: list[Act] = []
        node = root.first_child
        while node is not None:
            act = self.enter(node)
            if act and (child := node.first_child) is not None:
                above.append(act)
                node = child
                continue
            if act:
                self.leave(act)
            following = node.next
            while following is None and above:
                node = node.parent
                assert node is not None, "what was entered has a parent"
                self.leave(above.pop())
                following = node.next
            node = following
        self.close_paragraph()

    def enter(self, node: LexborNode) -> Act:
        """What was entered; SKIP where nothing below is to be read."""
        tag = node.tag or ""
        act = ACTS.get(tag, Act.INLINE)
        if act == Act.TEXT:
            self.add_text(node.text_content or "")
            return Act.SKIP
        if act == Act.SKIP or tag in PLAIN:
            return act
        return act if self.enters[act](node, tag) else Act.SKIP

    def leave(self, act: Act) -> None:
        if act in _BLOCKS:
            self.leave_block(act)
        elif act == Act.LINK:
            self.leave_link()
        elif act == Act.PICTURE:
            self.sources = []

    def add_text(self, text: str) -> None:
        self.paragraph.parts.append(text)
        if stripped := text.strip():
            self.last_image = None
            if self.links:
                self.paragraph.links += len(stripped)

    def close_paragraph(self) -> None:
        self.paragraph.close(self.kinds[-1], self.runs)

    def enter_inline(self, node: LexborNode, tag: str) -> bool:
        attributes = node.attributes
        return not attributes or not (
            _hidden(attributes)
            or attributes.get("aria-hidden") == "true"
            or mark("", attributes.get("class") or "", "", "") & Mark.HIDDEN
        )

    def enter_block(self, node: LexborNode, tag: str) -> bool:
        attributes = node.attributes
        if attributes and _hidden(attributes):
            return False
        self.close_paragraph()
        marks = _marks(tag, attributes)
        act = ACTS[tag]
        box = Box(tag, marks, len(self.runs))
        if act == Act.CELL and self.open:
            self.open[-1].cells.append(box.start)
        self.boxes.append(box)
        self.open.append(box)
        self.figures += bool(marks & Mark.FIGURE)
        self.kinds.append(_KINDS.get(tag) or self.kinds[-1])
        return True

    def leave_block(self, act: Act) -> None:
        self.close_paragraph()
        self.kinds.pop()
        box = self.open.pop()
        figure = bool(box.marks & Mark.FIGURE)
        self.figures -= figure
        above = self.open[-1] if self.open else None
        if act == Act.ROW and join_row(box, self.runs):
            while self.boxes[-1] is not box:
                self.boxes.pop()
        box.end = len(self.runs)
        if box.captions:
            if above is not None and self.figures and not figure:
                above.captions += box.captions
            else:
                attach_captions(box, self.runs, figure=figure)
        if box.marks & Mark.CAPTION and above is not None and box.end > box.start:
            text = sum(len(run.text) for run in self.runs[box.start :])
            if 0 < text <= _LONGEST_CAPTION:
                above.captions.append((box.start, box.end))

    def enter_link(self, node: LexborNode, tag: str) -> bool:
        self.links.append((len(self.paragraph.parts), node))
        return True

    def leave_link(self) -> None:
        """Takes back the sign of a link to the place where it stands: "¶", "#", "§"."""
        start, node = self.links.pop()
        parts = self.paragraph.parts[start : start + 2]
        if len(parts) != 1 or not isinstance(parts[0], str):
            return
        sign = parts[0].strip()
        if len(sign) <= _LONGEST_SIGN and not sign.isalnum() and (node.attributes.get("href") or "").startswith("#"):
            self.paragraph.links -= len(sign)
            del self.paragraph.parts[start:]

    def enter_break(self, node: LexborNode, tag: str) -> bool:
        if self.paragraph.last_is_break():
            self.close_paragraph()
        else:
            self.paragraph.parts.append(BREAK)
        return False

    def enter_rule(self, node: LexborNode, tag: str) -> bool:
        self.close_paragraph()
        return False

    def enter_image(self, node: LexborNode, tag: str) -> bool:
        attributes = node.attributes
        image = None if _hidden(attributes) else read_image(attributes, self.sources, self.base)
        if image is not None and image != self.last_image:
            self.paragraph.add_image(image)
            self.last_image = image
        return False

    def enter_picture(self, node: LexborNode, tag: str) -> bool:
        self.sources = []
        return True

    def enter_source(self, node: LexborNode, tag: str) -> bool:
        self.sources.append(node.attributes)
        return True

    def enter_noscript(self, node: LexborNode, tag: str) -> bool:
        return False

    def enter_code(self, node: LexborNode, tag: str) -> bool:
        self.close_paragraph()
        text = lined(node.text())
        if text:
            self.runs.append(Run(text, "code"))
        return False

    def enter_math(self, node: LexborNode, tag: str) -> bool:
        self.add_text(node.attributes.get("alttext") or node.text())
        return False


def _marks(tag: str, attributes: Attributes) -> int:
    if not attributes:
        return mark(tag, "", "", "")
    return mark(tag, attributes.get("class") or "", attributes.get("id") or "", attributes.get("role") or "")


def _hidden(attributes: Attributes) -> bool:
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    style = attributes.get("style")
    return style is not None and unseen(style)
