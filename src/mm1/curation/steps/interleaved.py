"""Pages that keep the text rules → the set of interleaved documents.

PART/interleaved.parquet     documents.py
PART/tally.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mm1.curation.config import CurateConfig
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.engine import Progress, Values, map_parts
from mm1.curation.extracted import Row, read_extracted
from mm1.curation.interleaved import Assembled, DroppedDocument, PlacedImage, assemble
from mm1.curation.obelics import ObelicsRules
from mm1.curation.page import Dropped
from mm1.curation.runner import Runner
from mm1.curation.samples import Picture, Sample, excerpt
from mm1.curation.steps import duplicates, obelics
from mm1.curation.steps.addresses import address_key
from mm1.curation.steps.extract import PAGE, PAGES, show
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.steps.occurrences import DOCUMENTS
from mm1.curation.steps.set_images import SetImages
from mm1.curation.tally import Tally

STEP, PLACE = "interleaved", "image in a page"
INTERLEAVED, SET = "interleaved.parquet", "set"


@dataclass(frozen=True)
class Inputs:
    """Where earlier steps left what this one needs."""

    found: Path
    pictures: Path
    config: CurateConfig

    def of_obelics(self) -> obelics.Inputs | None:
        """What OBELICS' rules need, where they are asked for."""
        rules = self.config.interleaved
        if not isinstance(rules, ObelicsRules):
            return None
        return obelics.Inputs(self.found, self.pictures, rules, self.config.text.quality.model)

    def assembler(self, part: PartInputs, step: Path) -> Callable[[Row], Assembled]:
        """The rules for pages of a part."""
        of_obelics = self.of_obelics()
        if of_obelics is not None:
            rules = obelics.SetRules(step / SET, part, of_obelics)
            return lambda row: rules.assemble(row.number, row.url, row.page)
        look_up = SetImages(self.found, self.pictures, DOCUMENTS).of(part.source)
        return lambda row: assemble(row.page, look_up, self.config.interleaved)


def write_interleaved(
    folder: Path, parts: Sequence[PartInputs], inputs: Inputs, runner: Runner, progress: Progress | None
) -> None:
    """Fills the folder of the step."""
    of_obelics = inputs.of_obelics()
    if of_obelics is not None:
        (folder / SET).mkdir(exist_ok=True)
        obelics.ask_the_set(folder / SET, parts, of_obelics, runner)
    map_parts(partial(interleave_part, inputs=inputs, step=folder), parts, folder / "parts", runner, progress)


def interleave_part(part: PartInputs, folder: Path, inputs: Inputs, step: Path) -> Values:
    """Fills the folder of a part."""
    tally, document_of = Tally(), inputs.assembler(part, step)
    status = np.load(part.folders["duplicates"] / duplicates.STATUS)
    with DocumentWriter(folder / INTERLEAVED) as writer:
        for row in read_extracted(part.folders["extract"] / PAGES, wanted=status == duplicates.KEPT):
            tally.enter(STEP, PAGE)
            tally.enter(STEP, PLACE, len(row.page.images))
            try:
                document = document_of(row)
            except DroppedDocument as drop:
                tally.drop(STEP, PAGE, drop.reason, row.id, partial(show, row.url or row.id, row.page))
                tally.of(STEP, PLACE).dropped.update(drop.dropped_images)
                continue
            try:
                writer.write(row.id, row.url, segments_of(document))
            except Dropped as drop:
                tally.drop(STEP, PAGE, drop.reason, row.id, partial(show, row.url or row.id, row.page))
                places = len(row.page.images) - document.dropped_images.total()
                tally.of(STEP, PLACE).dropped.update(document.dropped_images + Counter(document_dropped=places))
                continue
            count(tally, document)
            tally.keep(STEP, PAGE, row.id, partial(draw, row.url or row.id, document, part.source))
    counts, _ = tally.of(STEP, PAGE), tally.of(STEP, PLACE)  # there where nothing came in, too
    tally.save(folder)
    return {"in": counts.entered, "out": counts.kept}


def segments_of(document: Assembled) -> list[str | PictureSegment]:
    """A document as it is written."""
    return [
        PictureSegment(part.image.data, part.url, part.alt) if isinstance(part, PlacedImage) else part.text
        for part in document.segments
    ]


def count(tally: Tally, document: Assembled) -> None:
    """Counts a document's images and texts."""
    images = sum(isinstance(part, PlacedImage) for part in document.segments)
    places = tally.of(STEP, PLACE)
    places.keep(images)
    places.dropped.update(document.dropped_images)
    tally.statistics.number("images a document", images)
    texts = (len(part.text) for part in document.segments if not isinstance(part, PlacedImage))
    tally.statistics.size("characters a document", sum(texts))


def draw(url: str, document: Assembled, source: str) -> Sample:
    """A document as a sample; its pictures are drawn if it is among the last."""
    parts = (
        Picture(part.url, part.alt, key=address_key(part.url, source)) if isinstance(part, PlacedImage) else part.text
        for part in document.segments
    )
    return excerpt(url, parts)
