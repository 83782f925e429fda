"""The pass over a parsed page that makes its runs and boxes: each element once, in order, without recursion.

Knows what elements mean; not which of them are the page's content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from selectolax.lexbor import LexborNode

from mm1.curation.html.images import Attributes, read_image
from mm1.curation.html.runs import BREAK, Box, Flat, Paragraph, Run, attach_captions, join_row, lined
from mm1.curation.html.words import ACTS, HEADINGS, LONGEST, Act, Mark, mark, unseen, word_set
from mm1.curation.page import ParagraphKind

_KINDS: Mapping[str, ParagraphKind] = {
    **dict.fromkeys(HEADINGS, "heading"),
    "li": "list",
    "blockquote": "quote",
    "table": "table",
}
_FIGURE_OR_CAPTION = Mark.FIGURE | Mark.CAPTION
_LONGEST_SIGN = 2
_LONGEST_CAPTION = 10
"""Runs."""
_MOST_FIGURES = 100
"""Around a figure that has a caption for all of its images: each of them looks through everything in it."""
_LINES = word_set("div li p tr")
_IN_CODE = "br, img, div, li, p, tr, script, style, button, template"
"""What makes code more than text."""


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
        self.open = [Box("body", 0, "paragraph", 0)]
        self.paragraph = Paragraph()
        self.cells: list[list[int]] = []
        """Of each open row of a table: the run with which each of its cells begins."""
        self.links: list[tuple[int, LexborNode]] = []
        self.figures = 0
        self.sources: list[Attributes] = []
        self.last_image: Run | None = None
        """The image after which nothing has been read yet: a <noscript> that follows repeats it."""
        self.repeated = ""
        """What was taken from a <noscript> after which nothing has been read yet: an image that follows repeats it."""

    def read(self, root: LexborNode) -> None:
        """Depth first; `above` holds what was entered and not left."""
        plain, inline = Act.PLAIN, Act.INLINE
        above: list[tuple[LexborNode, int]] = []
        node = root.first_child
        while node is not None:
            tag = node.tag or ""
            if tag == "-text":
                self.add_text(node.text_content or "")
            else:
                act = ACTS.get(tag, inline)
                if act and (act == plain or _ENTERS[act](self, node, tag)):
                    child = node.first_child
                    if child is not None:
                        if child.next is not None or child.tag != "-text":
                            above.append((node, act))
                            node = child
                            continue
                        self.add_text(child.text_content or "")
                    if act > inline:
                        self.leave(act)
            following = node.next
            while following is None and above:
                node, act = above.pop()
                if act > inline:
                    self.leave(act)
                following = node.next
            node = following
        self.close_paragraph()
        attach_captions(self.open[0], self.runs, figure=False)

    def leave(self, act: int) -> None:
        if act <= Act.CELL:
            self.leave_block(act)
        elif act == Act.LINK:
            self.leave_link()
        elif act == Act.PICTURE:
            self.sources = []

    def add_text(self, text: str) -> None:
        paragraph = self.paragraph
        if text.isspace():
            if paragraph.parts:
                paragraph.parts.append(" ")
            return
        paragraph.parts.append(text)
        self.last_image = None
        self.repeated = ""
        if self.links:
            paragraph.links += len(text.strip())

    def close_paragraph(self) -> None:
        if self.paragraph.parts:
            self.paragraph.close(self.open[-1].kind, self.runs)

    def enter_inline(self, node: LexborNode, tag: str) -> bool:
        attributes = node.attributes
        if not attributes:
            return True
        classes = attributes.get("class")
        if classes and mark("", classes[:LONGEST], "", "") & Mark.HIDDEN:
            return False
        return (classes is not None and len(attributes) == 1) or not (
            _hidden(attributes) or attributes.get("aria-hidden") == "true"
        )

    def enter_block(self, node: LexborNode, tag: str) -> bool:
        if self.paragraph.parts:
            self.close_paragraph()
        attributes = node.attributes
        marks = _marks(tag, attributes) if attributes else mark(tag, "", "", "")
        if marks & Mark.NAVIGATION:
            return False
        box = Box(tag, marks, _KINDS.get(tag) or self.open[-1].kind, len(self.runs))
        act = ACTS[tag]
        if act == Act.ROW:
            self.cells.append([])
        elif act == Act.CELL and self.cells:
            self.cells[-1].append(box.start)
        if marks & Mark.FIGURE:
            self.figures += 1
        self.boxes.append(box)
        self.open.append(box)
        return True

    def leave_block(self, act: int) -> None:
        if self.paragraph.parts:
            self.close_paragraph()
        box = self.open.pop()
        if act == Act.ROW and join_row(box.start, self.cells.pop(), self.runs):
            while self.boxes[-1] is not box:
                self.boxes.pop()
        box.end = len(self.runs)
        if box.captions or box.marks & _FIGURE_OR_CAPTION:
            self.leave_figure(box)

    def leave_figure(self, box: Box) -> None:
        """Captions go to the images of the figure in which they stand, or else to those beside them."""
        figure = bool(box.marks & Mark.FIGURE)
        self.figures -= figure
        above = self.open[-1]
        if box.captions:
            if self.figures and not figure:
                above.captions = [*above.captions, *box.captions] if above.captions else box.captions
            else:
                attach_captions(box, self.runs, figure=figure and self.figures < _MOST_FIGURES)
        if box.marks & Mark.CAPTION and 0 < box.end - box.start <= _LONGEST_CAPTION:
            if above.captions is None:
                above.captions = []
            above.captions.append((box.start, box.end))

    def enter_link(self, node: LexborNode, tag: str) -> bool:
        self.links.append((len(self.paragraph.parts), node))
        return True

    def leave_link(self) -> None:
        """Takes back the sign of a link to the place where it stands: "¶", "#", "§"."""
        start, node = self.links.pop()
        parts = self.paragraph.parts
        if len(parts) != start + 1:
            return
        sign = parts[start]
        if not isinstance(sign, str) or len(sign := sign.strip()) > _LONGEST_SIGN or sign.isalnum():
            return
        if (node.attributes.get("href") or "").startswith("#"):
            self.paragraph.links -= len(sign)
            del parts[start:]

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
        self.add_image(node.attributes, self.sources)
        return False

    def add_image(self, attributes: Attributes, sources: list[Attributes]) -> None:
        image = None if _hidden(attributes) else read_image(attributes, sources, self.base)
        if image is not None and image.url != self.repeated:
            self.last_image = self.paragraph.add_image(image, linked=bool(self.links))
        self.repeated = ""

    def enter_picture(self, node: LexborNode, tag: str) -> bool:
        self.sources = []
        return True

    def enter_source(self, node: LexborNode, tag: str) -> bool:
        self.sources.append(node.attributes)
        return False

    def enter_noscript(self, node: LexborNode, tag: str) -> bool:
        """Of what a page shows without scripts only images count.

        The first is what the image just before it becomes: if that has an address already it stays, if it shows a
        placeholder it is replaced. Images of one pixel count visitors.
        """
        before = self.last_image
        images = [read_image(each.attributes, [], self.base) for each in node.css("img")]
        seen = [image for image in images if image is not None and 1 not in (image.width, image.height)]
        if not seen or (before is not None and before.image is not None and not before.image.url.startswith("data:")):
            return False
        if before is not None and before.image is not None:
            before.image = replace(seen[0], alt=seen[0].alt or before.image.alt)
        for image in seen[before is not None :]:
            self.last_image = self.paragraph.add_image(image, linked=bool(self.links))
        self.repeated = seen[-1].url
        return False

    def enter_code(self, node: LexborNode, tag: str) -> bool:
        self.close_paragraph()
        text, images = (node.text(), []) if node.css_first(_IN_CODE) is None else _read_code(node)
        if text := lined(text):
            self.runs.append(Run(text, "code"))
        for image in images:
            self.add_image(image, [])
        return False

    def enter_math(self, node: LexborNode, tag: str) -> bool:
        self.add_text(node.attributes.get("alttext") or node.text())
        return False


_ENTERS: Mapping[int, Callable[[_Walk, LexborNode, str], bool]] = {
    Act.INLINE: _Walk.enter_inline,
    Act.BLOCK: _Walk.enter_block,
    Act.ROW: _Walk.enter_block,
    Act.CELL: _Walk.enter_block,
    Act.LINK: _Walk.enter_link,
    Act.BREAK: _Walk.enter_break,
    Act.RULE: _Walk.enter_rule,
    Act.IMAGE: _Walk.enter_image,
    Act.PICTURE: _Walk.enter_picture,
    Act.SOURCE: _Walk.enter_source,
    Act.NOSCRIPT: _Walk.enter_noscript,
    Act.CODE: _Walk.enter_code,
    Act.MATH: _Walk.enter_math,
}


def _marks(tag: str, attributes: Attributes) -> int:
    get = attributes.get
    if len(attributes) == 1 and (classes := get("class")):
        return mark(tag, classes[:LONGEST], "", "")
    role = get("role")
    found = mark(
        tag, (get("class") or "")[:LONGEST], (get("id") or "")[:LONGEST], role[:LONGEST].lower() if role else ""
    )
    return found | Mark.HIDDEN if get("aria-hidden") == "true" or _hidden(attributes) else found


def _read_code(node: LexborNode) -> tuple[str, list[Attributes]]:
    """The text of code whose lines are elements, and its images, which come after it."""
    parts: list[str] = []
    images: list[Attributes] = []
    for each in node.traverse(include_text=True):
        tag = each.tag
        begins = tag in _LINES or (each.prev is not None and each.prev.tag in _LINES)
        if begins and parts and not parts[-1].endswith("\n"):
            parts.append("\n")
        if tag == "-text":
            if each.parent is None or ACTS.get(each.parent.tag or "", Act.INLINE) != Act.SKIP:
                parts.append(each.text_content or "")
        elif tag == "img":
            images.append(each.attributes)
        elif tag == "br":
            parts.append("\n")
    return "".join(parts), images


def _hidden(attributes: Attributes) -> bool:
    style = attributes.get("style")
    if style is not None and unseen(style):
        return True
    return "hidden" in attributes and attributes["hidden"] != "until-found"
