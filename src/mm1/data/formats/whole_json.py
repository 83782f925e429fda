"""JSON files that are one object with lists in it, as COCO's and VQA's: they can only be read whole, up to a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.data.formats.reading import Unusable
from mm1.data.formats.streams import Damaged, open_stream, parse_json

MAX_WHOLE = 2 << 30
"""Bytes; COCO's and VQAv2's largest files have a fifth of it."""

_PART = 1 << 20


def whole_object(path: Path) -> dict[str, Any]:
    """The object.

    Raises:
        Unusable: cut off, damaged, larger than MAX_WHOLE, or no JSON object.
    """
    data = bytearray()
    try:
        with open_stream(path) as stream:
            while part := stream.read(_PART):
                data += part
                if len(data) > MAX_WHOLE:
                    raise Unusable("file too large")
    except Damaged as error:
        raise Unusable(error.reason) from None
    value = parse_json(bytes(data))
    if not isinstance(value, dict):
        raise Unusable("no JSON object")
    return value


def listed(path: Path, whole: dict[str, Any], key: str) -> list[Any]:
    """The list at `key`.

    Raises:
        UserError: there is none; it names the keys that are there.
    """
    value = whole.get(key)
    if not isinstance(value, list):
        there = ", ".join(map(str, whole)) or "none"
        raise UserError(f"{path} has the keys {there}, but no list of {key}: name another format with --format")
    return value


def is_id(value: object) -> bool:
    """Whether rows of another list may refer to it."""
    return isinstance(value, int)
