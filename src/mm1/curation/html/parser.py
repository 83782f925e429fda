"""The parser (lexbor, by selectolax) as it is used here: a page as browsers see it, without what scripts would need."""

from __future__ import annotations

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser

_OPTIONS = LexborDocumentOptions.WO_EVENTS.value
"""Without the copies that browsers make of a <select>'s choice: quadratic time for controls that are never read."""


def parse(text: str) -> LexborHTMLParser:
    """The tree of a page, or of a piece of one."""
    return LexborHTMLParser(text, options=_OPTIONS)
