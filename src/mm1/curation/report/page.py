"""The sections of the report in their order."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from mm1.curation.funnel import Funnel
from mm1.curation.report.passage import drop_table, passages
from mm1.curation.report.samples import gallery
from mm1.curation.report.spread import spreads
from mm1.curation.samples import Samples
from mm1.curation.statistics import Statistics
from mm1.files import write_atomically
from mm1.report.document import document
from mm1.report.markup import Markup, count, facts_list, tag, together


def write_report(
    funnel: Funnel,
    samples: Samples,
    statistics: Statistics,
    path: Path,
    sets: Mapping[str, int] | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes the page at `path`; an older one is replaced whole.

    Args:
        funnel: What came into each step and what became of it.
        samples: Of what was kept and dropped, with their thumbnails.
        statistics: How things are spread.
        path: Of the file, whose folder's name is the title.
        sets: Documents of each set that was written, by the set's name.
        facts: What else stands on top, as profile or time, by its name.
    """
    name = path.resolve().parent.name
    header = _header(name, funnel, sets or {}, facts or {})
    sections = [
        ("funnel", "Funnel", passages(funnel)),
        ("drops", "What was dropped, and why", drop_table(funnel)),
        ("spread", "How things are spread", spreads(statistics)),
        ("samples", "What was kept and dropped", gallery(funnel, samples)),
    ]
    style = files("mm1.curation.report").joinpath("report.css").read_text()
    page = document(f"{name}: mm1 curation report", header, sections, style)
    write_atomically(path, page.encode(errors="replace"))  # a folder's name need not be UTF-8


def _header(name: str, funnel: Funnel, sets: Mapping[str, int], facts: Mapping[str, str]) -> Markup:
    read = {step.unit: step.counts.entered for step in reversed(funnel.steps)}
    pairs = [(f"{unit}s read", count(read[unit])) for unit in dict.fromkeys(step.unit for step in funnel.steps)][:1]
    listed = facts_list([*pairs, *facts.items()])
    kicker = tag("p", "mm1 curation report", class_="kicker")
    return tag("header", kicker, tag("h1", name), listed, _lead(funnel, sets))


def _lead(funnel: Funnel, sets: Mapping[str, int]) -> Markup:
    """The one sentence to take away."""
    if not funnel.steps or not sets:
        return Markup()
    first = funnel.steps[0]
    said: list[object] = [tag("b", count(first.counts.entered)), f" {_of(first.unit, first.counts.entered)} gave "]
    for number, (name, documents) in enumerate(sets.items()):
        joint = "" if number == 0 else " and " if number == len(sets) - 1 else ", "
        noun, more = NOUNS.get(name, ("document", f" of {name}"))
        said += [joint, tag("b", count(documents)), f" {_of(noun, documents)}{more}"]
    return tag("p", together(said), ".", class_="lead")


def _of(noun: str, number: int) -> str:
    return noun if number == 1 else f"{noun}s"


NOUNS = {"text": ("text", ""), "interleaved": ("interleaved document", ""), "captions": ("caption pair", "")}
"""What a document of a set is called, and what follows it."""
