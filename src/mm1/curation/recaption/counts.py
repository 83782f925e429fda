"""What came of the pairs of a set: in = out + dropped, exactly.

counts.to_json()      # {"in": 9, "out": 8, "chosen": {"alt_text": 5, …}, "failed": {…}, "dropped": {"damaged": 1}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Recaptioned:
    """Counts of one file or of several."""

    entered: int = 0
    chosen: Counter[str] = field(default_factory=Counter)
    """Documents of the set, by the column of their text."""
    failed: Counter[str] = field(default_factory=Counter)
    """Of these, those without a synthetic caption, by reason."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What is not in the set, by reason."""

    def __add__(self, other: Recaptioned) -> Recaptioned:
        return Recaptioned(
            self.entered + other.entered,
            self.chosen + other.chosen,
            self.failed + other.failed,
            self.dropped + other.dropped,
        )

    def to_json(self) -> dict[str, Any]:
        """{"in", "out", "chosen", "failed", "dropped"}"""
        out = self.chosen.total()
        assert self.entered == out + self.dropped.total(), "a pair was lost"
        counters = {"chosen": self.chosen, "failed": self.failed, "dropped": self.dropped}
        return {"in": self.entered, "out": out} | {name: dict(sorted(c.items())) for name, c in counters.items()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Recaptioned:
        """What `to_json` gave."""
        return Recaptioned(value["in"], *(Counter(value[name]) for name in ("chosen", "failed", "dropped")))
