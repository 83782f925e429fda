"""Whether attributes or addresses would cost time or memory that grows with their square.

    <div a1=">" a2=">" …>            one element, with ends of tags in its values: lexbor looks for each among all
    <body a1><body a2><body a3>…     every further <body> and <html> gives its attributes to the first
    <base href=/LONG/><img src=1><img src=2>…     every address becomes as long as the base

Told from the text in linear time, and only where it is long enough to cost much. Knows nothing of trees.
"""

from __future__ import annotations

import re

from mm1.curation.page import Dropped

MAX_ATTRIBUTES = 5_000
"""Of one element."""

_LONG = 50_000
"""Characters; at most 12,500 attributes of different names, 0.2 seconds."""

MAX_ADDRESSES = 50_000_000
"""Characters of all images' addresses, were each as long as the base."""
_SHORTEST_IMAGE = len("<img src=a>")
_IMAGE = re.compile(r"<im(?:g|age)(?![^\s/>])", re.IGNORECASE)
"""The parser takes <image> for <img>."""

_SPACE = r"\t\n\f\r "
_VALUE = rf"(?:[{_SPACE}]*+=[{_SPACE}]*+(?:\"[^\"]*+\"|'[^']*+'|[^{_SPACE}>\"'][^{_SPACE}>]*+)?+)?+"
_ATTRIBUTE = rf"(?:[{_SPACE}/]++[^{_SPACE}/>=]*+|(?<=[\"'])[^{_SPACE}/>=]++){_VALUE}"
"""Spaces and slashes, a name, a value (HTML Standard, 13.2.5.32 and on); after a quoted value no space need stand."""
_NOT_MANY = re.compile(
    rf"(?:[^<]++|<(?![a-zA-Z])|<[a-zA-Z][^{_SPACE}/>]*+(?:{_ATTRIBUTE}){{0,{MAX_ATTRIBUTES}}}+(?!{_ATTRIBUTE}))*+"
)
"""All of a page, or what stands before the tag that has more: one match, so that no text is read twice."""
_ROOT = re.compile(rf"<(?:html|body)(?=[{_SPACE}/])((?:{_ATTRIBUTE})*+)", re.IGNORECASE)
_NAME = re.compile(rf"(?:[{_SPACE}/]++|(?<=[\"']))([^{_SPACE}/>=]++){_VALUE}")


def check_attributes(text: str) -> None:
    """Raises Dropped: too_many_attributes."""
    if len(text) < _LONG:
        return
    found = _NOT_MANY.match(text)
    assert found is not None  # of nothing, if need be
    if found.end() < len(text):
        raise Dropped("too_many_attributes")
    names = {name for attributes in _ROOT.findall(text) for name in _NAME.findall(attributes)}
    if len(names) > MAX_ATTRIBUTES:
        raise Dropped("too_many_attributes")


def check_addresses(text: str, base: str) -> None:
    """Raises Dropped: too_large, for a page whose images would all get the long address `base`."""
    if len(base) * len(text) < MAX_ADDRESSES * _SHORTEST_IMAGE:
        return
    if len(base) * len(_IMAGE.findall(text)) > MAX_ADDRESSES:
        raise Dropped("too_large")
