"""What a step that goes over the parts is given of each: its number, and where earlier steps left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ROW_BITS = 32
"""A part has fewer pages."""


@dataclass(frozen=True, slots=True)
class PartInputs:
    """A part on its way."""

    name: str
    number: int
    """Among all parts, in the order of the sources."""
    source: str
    """What `local:` addresses of its pages belong to."""
    listed: bool
    """Whether its pages are pictures that a list names."""
    folders: Mapping[str, Path]
    """By the name of the step that filled them."""

    def order(self, row: int) -> int:
        """Where a page stands in the whole set: the pages of one part after those of another."""
        return self.number << _ROW_BITS | row
