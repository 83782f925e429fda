"""What elements mean by their names: which flow, which are never read, and which words mark what is no content.

The words are those that people who write pages by hand use in class and id; none belongs to one generator of pages.
Knows nothing of trees.
"""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag
from functools import lru_cache


class Act(IntEnum):
    """What reading does at an element."""

    SKIP = 0
    """It and all in it is never read."""
    INLINE = 1
    BLOCK = 2
    LINK = 3
    BREAK = 4
    IMAGE = 5
    PICTURE = 6
    SOURCE = 7
    NOSCRIPT = 8
    CODE = 9
    ROW = 10
    CELL = 11
    MATH = 12
    TEXT = 13
    RULE = 14


class Mark(IntFlag):
    """What the names of a block say of it."""

    MAIN = 1
    ARTICLE = 2
    BODY = 4
    """A word such as "content": likely, no more."""
    ASIDE = 8
    """Navigation, footers, advertisements, dialogues."""
    HEAD = 16
    """What stands at the top of a page or of an article: navigation in one, the title in the other."""
    HIDDEN = 32
    FIGURE = 64
    CAPTION = 128
    QUIET = 256
    """Hidden from readers of screens only."""


def word_set(words: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(words.split())


_TAGS = {
    Act.SKIP: "script style template head title meta link base iframe frame frameset noframes noembed svg canvas video "
    "audio track embed param map area button input select textarea option optgroup datalist label output progress "
    "meter dialog -comment !doctype rp rt",
    Act.BLOCK: "html body address article aside blockquote center dd details dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p search section summary table thead tbody "
    "tfoot caption colgroup ul",
    Act.LINK: "a",
    Act.BREAK: "br",
    Act.IMAGE: "img",
    Act.PICTURE: "picture",
    Act.SOURCE: "source",
    Act.NOSCRIPT: "noscript",
    Act.CODE: "pre listing xmp plaintext",
    Act.ROW: "tr",
    Act.CELL: "td th",
    Act.MATH: "math",
    Act.TEXT: "-text",
    Act.RULE: "hr",
}
ACTS = {tag: act for act, tags in _TAGS.items() for tag in tags.split()}
"""Elements that are not here flow within a line."""

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "hgroup", "summary")
PLAIN = word_set("b strong i em u s tt code kbd samp var small big sub sup font cite q abbr acronym dfn ins")
"""Elements of a line that are not asked whether they are hidden: there are many, and they never are."""

_NAMED_BY_ID = word_set("div section ul ol table td form aside header footer nav dl span center")
"""Elsewhere an id is the name of a place to go to: <h2 id="search">."""

_BY_TAG = {
    "main": Mark.MAIN,
    "article": Mark.ARTICLE,
    "nav": Mark.ASIDE,
    "aside": Mark.ASIDE,
    "footer": Mark.ASIDE,
    "search": Mark.ASIDE,
    "menu": Mark.ASIDE,
    "header": Mark.HEAD,
    "figure": Mark.FIGURE,
    "figcaption": Mark.CAPTION,
}
_BY_ROLE = {
    "main": Mark.MAIN,
    "article": Mark.ARTICLE,
    "document": Mark.BODY,
    "navigation": Mark.ASIDE,
    "banner": Mark.ASIDE,
    "complementary": Mark.ASIDE,
    "contentinfo": Mark.ASIDE,
    "search": Mark.ASIDE,
    "menu": Mark.ASIDE,
    "menubar": Mark.ASIDE,
    "toolbar": Mark.ASIDE,
    "tablist": Mark.ASIDE,
    "alert": Mark.ASIDE,
    "dialog": Mark.ASIDE,
    "alertdialog": Mark.ASIDE,
    "figure": Mark.FIGURE,
}

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ASIDE = re.compile(
    r"(?<![a-z])(?:nav[a-z]*|subnav|sidenav|topnav|menus?|menubar|submenu|crumbs?|pager|pagination|paginate|toc|"
    r"ads?|adv|advert[a-z]*|sponsor[a-z]*|promo[a-z]*|cookies?|consent|gdpr|popups?|modal|overlay|lightbox|share|"
    r"sharing|sharebar|social|related|recommend[a-z]*|newsletter|subscribe|subscription|signup|signin|login|"
    r"toolbar|search|skip|skiplinks?|feedback|comments?|respond|disqus|rating|tagcloud|banner|copyright|masthead|"
    r"widgets?|permalink|logo|byline|sitemap|topbar|bottombar|ribbon)(?![a-z])"
    r"|side-?bar|bread-?crumb|footer|logo(?![a-z])|copyright"
)
_HEAD = re.compile(r"(?<![a-z])(?:header|head|top|page-?header|site-?header|titlearea|title-?bar)(?![a-z])")
_BODY = re.compile(
    r"(?<![a-z])(?:contents?|main|article|post|entry|body|text|story|chapter|section|document|doc|page)(?![a-z])"
)
_HIDDEN = re.compile(
    r"(?<![a-z])(?:hidden|hide|sr-only|visually-?hidden|screen-?reader(?:-text)?|d-none|offscreen|noprint|no-print)"
    r"(?![a-z])"
)
_CAPTION = re.compile(r"(?<![a-z])(?:caption|figcaption)(?![a-z])")
_FIGURE = re.compile(r"(?<![a-z])(?:figure|fig)(?![a-z])")
_PATTERNS = {
    Mark.ASIDE: _ASIDE,
    Mark.HEAD: _HEAD,
    Mark.BODY: _BODY,
    Mark.HIDDEN: _HIDDEN,
    Mark.CAPTION: _CAPTION,
    Mark.FIGURE: _FIGURE,
}
_LONGEST = 1_000
_UNSEEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)


@lru_cache(maxsize=1 << 14)
def mark(tag: str, classes: str, name: str, role: str) -> int:
    """The marks of an element by its tag, class, id and ARIA role."""
    found = int(_BY_TAG.get(tag, 0)) | int(_BY_ROLE.get(role, 0))
    names = f"{classes} {name}" if name and tag in _NAMED_BY_ID else classes
    if not names or tag in HEADINGS:
        return found
    words = _CAMEL.sub("-", names[:_LONGEST]).lower().replace("_", "-")
    for each, pattern in _PATTERNS.items():
        if pattern.search(words):
            found |= each
    return found


def unseen(style: str) -> bool:
    """Whether an inline style hides the element."""
    return _UNSEEN.search(style) is not None
