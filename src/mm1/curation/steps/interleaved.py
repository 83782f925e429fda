"""Pages that keep the text rules → the set of interleaved documents.

PART/interleaved.parquet     documents.py
PART/tally.json
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from mm1.curation.config import CurateConfig
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.engine import Values
from mm1.curation.extracted import read_extracted
from mm1.curation.interleaved import Assembled, DroppedDocument, PlacedImage, assemble
from mm1.curation.page import Dropped
from mm1.curation.samples import Picture, Sample, excerpt, thumbnail
from mm1.curation.steps import duplicates
from mm1.curation.steps.extract import PAGE, PAGES, show
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.steps.set_images import SetImages
from mm1.curation.tally import Tally

STEP, PLACE = "interleaved", "image in a page"
INTERLEAVED = "interleaved.parquet"


def interleave_part(part: PartInputs, folder: Path, config: CurateConfig, found: Path, pictures: Path) -> Values:
    """Fills the folder of a part."""
    tally = Tally()
    rules = config.interleaved
    look_up = SetImages(found, pictures).of(part.source, rules.images)
    status = np.load(part.folders["duplicates"] / duplicates.STATUS)
    with DocumentWriter(folder / INTERLEAVED) as writer:
        for row in read_extracted(part.folders["extract"] / PAGES):
            if status[row.number] != duplicates.KEPT:
                continue
            tally.enter(STEP, PAGE)
            tally.enter(STEP, PLACE, len(row.page.images))
            try:
                document = assemble(row.page, look_up, rules)
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
            tally.keep(STEP, PAGE, row.id, partial(draw, row.url or row.id, document))
    tally.save(folder)
    counts = tally.of(STEP, PAGE)
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


def draw(url: str, document: Assembled) -> Sample:
    """A document as a sample, with its pictures."""
    parts = (
        Picture(part.url, part.alt, thumbnail(part.image.data)) if isinstance(part, PlacedImage) else part.text
        for part in document.segments
    )
    return excerpt(url, parts)
