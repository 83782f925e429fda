"""Counts that add up: what came into each step, what left it, and why the rest did not.

    counts = Counts()
    for page in pages:
        counts.enter()
        counts.drop("too_large")     # or counts.keep()
    funnel = Funnel().then("extract", "page", counts)
    funnel.to_json()      # {"steps": [{"name": "extract", "unit": "page", "in": 9, "out": 7, "dropped": {"empty": 2}}]}

    extract      ███████████████████  page   1,204  →  1,180
    text rules   ██████████████       page   1,180  →    871     the same unit: goes on where the former ended

What enters is counted apart from what becomes of it, so a thing that is lost on the way can not hide: counts that do
not add up are never written. Counts of parts add to the counts of the whole. Knows nothing of pages or rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REASON = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
"""What a reason looks like: a few fixed words, fit for counting."""


class Unbalanced(AssertionError):
    """Counts that do not add up: a mistake of the program, never of the data."""


@dataclass(slots=True)
class Counts:
    """Of one unit through one step."""

    entered: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def enter(self, number: int = 1) -> None:
        self.entered += number

    def keep(self, number: int = 1) -> None:
        self.kept += number

    def drop(self, reason: str, number: int = 1) -> None:
        """Counts things that end here."""
        assert REASON.fullmatch(reason), f"{reason!r} is no few words joined by underscores"
        self.dropped[reason] += number

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.entered + other.entered, self.kept + other.kept, self.dropped + other.dropped)

    def check(self, where: str = "a step") -> None:
        """Raises Unbalanced unless everything that entered was kept or dropped, each once."""
        ended = self.kept + self.dropped.total()
        if self.entered != ended or min(self.kept, *self.dropped.values(), 0) < 0:
            raise Unbalanced(
                f"{where}: {self.entered} came in, but {self.kept} were kept and {self.dropped.total()} dropped"
            )

    def to_json(self) -> dict[str, Any]:
        """{"in", "out", "dropped": {reason: count}}, the most frequent reason first.

        Raises:
            Unbalanced: in is not out + dropped.
        """
        self.check()
        ordered = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        return {"in": self.entered, "out": self.kept, "dropped": {name: number for name, number in ordered if number}}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Counts:
        """What `to_json` gave, checked."""
        counts = Counts(value["in"], value["out"], Counter(value["dropped"]))
        counts.check()
        return counts


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """A step of the funnel; several units may go through steps of one name."""

    name: str
    unit: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Funnel:
    """The steps in their order. A unit that goes on begins with what the step before left of it."""

    steps: tuple[FunnelStep, ...] = ()

    def then(self, name: str, unit: str, counts: Counts) -> Funnel:
        """The funnel with one step more.

        Raises:
            Unbalanced: the counts do not add up, or the unit's last step left another number than comes in now.
        """
        counts.check(f"{name} ({unit})")
        before = next((step for step in reversed(self.steps) if step.unit == unit), None)
        if before is not None and before.counts.kept != counts.entered:
            raise Unbalanced(
                f"{name} ({unit}): {counts.entered} came in, but {before.name} had left {before.counts.kept}"
            )
        return Funnel((*self.steps, FunnelStep(name, unit, counts)))

    def to_json(self) -> dict[str, Any]:
        """{"steps": [{"name", "unit", "in", "out", "dropped": {reason: count}}, …]}"""
        return {"steps": [{"name": step.name, "unit": step.unit, **step.counts.to_json()} for step in self.steps]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Funnel:
        """What `to_json` gave, checked."""
        funnel = Funnel()
        for step in value["steps"]:
            funnel = funnel.then(step["name"], step["unit"], Counts.from_json(step))
        return funnel
