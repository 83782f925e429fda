"""What elements mean by their names: which flow, which are never read, and which words mark what is no content.

The words are those that people who write pages by hand use in class and id; none belongs to one generator of pages.
Knows nothing of trees.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final


class Act:
    """What reading does at an element; plain numbers, for there are hundreds of elements in a page."""

    SKIP: Final = 0
    """It and all in it is never read."""
    PLAIN: Final = 1
    """Flows in a line, and nobody asks whether it is hidden: there are many, and they never are."""
    INLINE: Final = 2
    BLOCK: Final = 3
    ROW: Final = 4
    CELL: Final = 5
    LINK: Final = 6
    BREAK: Final = 7
    RULE: Final = 8
    IMAGE: Final = 9
    PICTURE: Final = 10
    SOURCE: Final = 11
    NOSCRIPT: Final = 12
    CODE: Final = 13
    MATH: Final = 14


class Mark:
    """What the names of an element say of it."""

    MAIN: Final = 1
    ARTICLE: Final = 2
    BODY: Final = 4
    """A word such as "content": likely, no more."""
    NEVER: Final = 8
    """Navigation, footers, advertisements, dialogues."""
    BESIDE: Final = 16
    """Sidebars, related things, comments: beside the content in one page, a part of it in another."""
    HIDDEN: Final = 32
    FIGURE: Final = 64
    CAPTION: Final = 128
    BY_ID: Final = 256
    """That it is NEVER or BESIDE says only its id, which is also the name of a place to go to: `#search`."""
    NAVIGATION: Final = 1024
    """What the page itself says is for finding the way: not even looked at."""
    TOC: Final = 512
    """A table of contents: beside the content, or all of it."""


def word_set(words: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(words.split())


_TAGS = {
    Act.SKIP: "script style template head title meta link base iframe frame frameset noframes noembed svg canvas video "
    "audio track embed param map area button input select textarea option optgroup datalist label output progress "
    "meter -comment !doctype rp rt",
    Act.PLAIN: "b strong i em u s tt code kbd samp var small big sub sup font cite q abbr acronym dfn ins",
    Act.BLOCK: "html body address article aside blockquote center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p search section summary table "
    "thead tbody tfoot caption colgroup ul",
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
    Act.RULE: "hr",
}
ACTS = {tag: act for act, tags in _TAGS.items() for tag in tags.split()}
"""Elements that are not here flow within a line."""

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "hgroup", "summary")

_NAMED_BY_ID = word_set("div section ul ol table td form aside header footer nav dl span center")
"""Elsewhere an id is the name of a place to go to: <h2 id="search">."""

_WITHIN = word_set("p tr td th thead tbody tfoot caption li dt dd summary legend figcaption")
"""What is called "header" or "related" here is a part of something, and stands beside nothing."""

_BY_TAG = {
    "main": Mark.MAIN,
    "article": Mark.ARTICLE,
    "nav": Mark.NAVIGATION,
    "menu": Mark.NEVER,
    "search": Mark.NEVER,
    "dialog": Mark.NEVER,
    "aside": Mark.BESIDE,
    "footer": Mark.BESIDE,
    "header": Mark.BESIDE,
    "figure": Mark.FIGURE,
    "figcaption": Mark.CAPTION,
}
_BY_ROLE = {
    "main": Mark.MAIN,
    "article": Mark.ARTICLE,
    "figure": Mark.FIGURE,
    "complementary": Mark.BESIDE,
    "navigation": Mark.NAVIGATION,
    **dict.fromkeys(
        word_set("banner contentinfo search menu menubar toolbar tablist alert dialog alertdialog directory"),
        Mark.NEVER,
    ),
}


def _any(words: str) -> re.Pattern[str]:
    """Finds any of the words, alone or with a number: `menu`, `left-menu2`, but no part of another word."""
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(words.split())})\d{{0,2}}(?![a-z0-9])")


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PATTERNS = {
    Mark.NEVER: _any(
        "nav[a-z]* subnav sidenav topnav [a-z]*navbar menus? [a-z]*menu menubar menuitem [a-z]*crumbs? [a-z]*footer "
        "pager paginat[a-z]* [a-z]*cookies? consent gdpr popups? popover modal overlay lightbox tooltip ads? adv "
        "advert[a-z]* adsense sponsor[a-z]* promo[a-z]* share sharing shar[a-z]*bar social newsletters? "
        "subscri[a-z]* sign-?up sign-?in log-?in log-?out toolbar top-?bar skip-?links? skip-?to[a-z-]* disqus "
        "tag-?cloud copyright [a-z]*logo rating sitemap"
    ),
    Mark.BESIDE: _any(
        "[a-z]*sidebar[a-z]* side-?bar aside related recommend[a-z]* similar widgets? banner masthead toc "
        "table-?of-?contents comments? "
        "respond feedback search[a-z]* header head top page-?header site-?header title-?area title-?bar author-?bio"
    ),
    Mark.TOC: _any("toc table-?of-?contents"),
    Mark.BODY: _any("contents? [a-z]*content main article post entry body text story document page"),
    Mark.HIDDEN: _any(
        "hidden hide sr-only visually-?hidden screen-?reader[a-z-]* d-none off-?screen invisible no-?print"
    ),
    Mark.CAPTION: _any("caption figcaption"),
    Mark.FIGURE: _any("figure fig"),
}
LONGEST = 500
"""Characters of a class or an id that are looked at."""
_UNSEEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)


@lru_cache(maxsize=1 << 14)
def mark(tag: str, classes: str, name: str, role: str) -> int:
    """The marks of an element by its tag, class, id and ARIA role, none longer than LONGEST."""
    found = _BY_TAG.get(tag, 0) | _BY_ROLE.get(role, 0)
    if tag in HEADINGS:
        return found
    found |= _marks_of(classes) & ~(Mark.BESIDE if tag in _WITHIN else 0)
    if name and tag in _NAMED_BY_ID:
        by_id = _marks_of(name)
        if by_id & (Mark.NEVER | Mark.BESIDE) and not found & (Mark.NEVER | Mark.BESIDE):
            found |= Mark.BY_ID
        found |= by_id
    return found


def _marks_of(names: str) -> int:
    if not names:
        return 0
    words = _CAMEL.sub("-", names).lower().replace("_", "-")
    found = 0
    for each, pattern in _PATTERNS.items():
        if pattern.search(words):
            found |= each
    return found


def unseen(style: str) -> bool:
    """Whether an inline style hides the element."""
    return _UNSEEN.search(style) is not None
