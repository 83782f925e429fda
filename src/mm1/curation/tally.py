"""What a step tells of a part: counts that add up, samples, and how things are spread; tallies add to the whole's.

    tally = Tally()
    tally.enter("extract", "page")
    tally.drop("extract", "page", "too_deep", page.id, lambda: excerpt(page.url, [], "nested 30,000 deep"))
    tally.keep("extract", "page", page.id, lambda: excerpt(page.url, texts))
    tally.save(folder)                                # folder/tally.json; checked that all that entered has ended

Knows nothing of steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mm1.curation.funnel import Counts
from mm1.curation.samples import KEPT, Sample, Samples
from mm1.curation.statistics import Statistics
from mm1.files import write_atomically

TALLY = "tally.json"


@dataclass(slots=True)
class Tally:
    """Of one part or of several."""

    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)
    """By the name of the step and the unit."""
    samples: Samples = field(default_factory=Samples)
    statistics: Statistics = field(default_factory=Statistics)

    def of(self, step: str, unit: str) -> Counts:
        """The counts of a unit through a step."""
        return self.counts.setdefault((step, unit), Counts())

    def enter(self, step: str, unit: str, number: int = 1) -> None:
        """Counts what comes in."""
        self.of(step, unit).enter(number)

    def keep(self, step: str, unit: str, name: str, make: Callable[[], Sample]) -> None:
        """Counts what goes on, and offers it as a sample."""
        self.of(step, unit).keep()
        self.samples.offer(step, KEPT, name, make)

    def drop(self, step: str, unit: str, reason: str, name: str, make: Callable[[], Sample]) -> None:
        """Counts what ends here, and offers it as a sample."""
        self.of(step, unit).drop(reason)
        self.samples.offer(step, reason, name, make)

    def __add__(self, other: Tally) -> Tally:
        keys = list(dict.fromkeys([*self.counts, *other.counts]))
        counts = {key: self.counts.get(key, Counts()) + other.counts.get(key, Counts()) for key in keys}
        return Tally(counts, self.samples + other.samples, self.statistics + other.statistics)

    def save(self, folder: Path) -> None:
        """Writes it down.

        Raises:
            Unbalanced: something that entered was neither kept nor dropped, or both.
        """
        values = {
            "counts": [[step, unit, counts.to_json()] for (step, unit), counts in self.counts.items()],
            "samples": self.samples.to_json(),
            "statistics": self.statistics.to_json(),
        }
        write_atomically(folder / TALLY, (json.dumps(values) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Tally:
        """What `save` wrote."""
        values = json.loads((folder / TALLY).read_text())
        counts = {(step, unit): Counts.from_json(value) for step, unit, value in values["counts"]}
        return cls(counts, Samples.from_json(values["samples"]), Statistics.from_json(values["statistics"]))


def total(folders: Iterable[Path]) -> Tally:
    """The tallies in the folders added up, one in memory at a time."""
    return sum((Tally.load(folder) for folder in folders), Tally())
