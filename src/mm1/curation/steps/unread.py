"""Sources of which not one page could be read, in words: a cut-off file must not pass as one row of a table.

    unread(parts, extract_folder)       # "crawl.warc.gz (truncated_record 1), b.warc.gz (nothing in it)"; "" for none

Knows nothing of what the reasons mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mm1.curation.engine import read_counts
from mm1.curation.sources import Part

_MOST_SOURCES, _MOST_REASONS = 5, 3


def unread(parts: Sequence[Part], folder: Path) -> str:
    """The sources whose parts kept nothing, with the commonest reasons; `folder` is that of extract.py."""
    kept: Counter[str] = Counter()
    dropped: dict[str, Counter[str]] = {}
    for part in parts:
        counts = read_counts(folder / part.name)
        kept[part.source] += counts["out"]
        dropped.setdefault(part.source, Counter()).update(counts["dropped"])
    empty = [source for source in dropped if not kept[source]]
    told = [f"{source} ({_reasons(dropped[source])})" for source in empty[:_MOST_SOURCES]]
    more = len(empty) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


def _reasons(dropped: Counter[str]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in dropped.most_common(_MOST_REASONS)) or "nothing in it"
