"""Caption pairs → those whose image and text agree, by a CLIP.

scores/PART/scores.npy         [N] float32 of the pairs of a part, in their order
threshold.json                 the lowest score that is kept: of the whole set
parts/PART/captions.parquet    documents.py
parts/PART/tally.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mm1.curation.clip_score import ClipConfig, Scorer, lowest_kept
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.engine import Progress, Values, map_parts
from mm1.curation.runner import Runner
from mm1.curation.samples import Picture, Sample, thumbnail
from mm1.curation.steps.captions import CAPTIONS, UNIT
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.tally import Tally
from mm1.files import write_atomically

STEP = "caption scores"
SCORES, THRESHOLD = "scores.npy", "threshold.json"
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _Row:
    """A pair as documents.py has it."""

    id: str
    url: str
    picture: PictureSegment
    text: str
    """As it is trained on."""

    def show(self, score: float) -> Sample:
        drawn = Picture(self.picture.url[:500], self.picture.alt[:500], thumbnail(self.picture.data))
        return Sample(self.url[:500], (drawn, self.text.strip()), f"CLIP score {score:.3f}")


def filter_by_score(
    folder: Path, parts: Sequence[PartInputs], captions: Path, config: ClipConfig, runner: Runner,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Fills the folder of the step; `captions` is that of captions.py."""
    score = partial(score_part, captions=captions, config=config)
    map_parts(score, parts, folder / "scores", runner, progress)
    files = [folder / "scores" / part.name / SCORES for part in parts]
    lowest = config.threshold
    if lowest is None:
        assert config.keep is not None
        lowest = lowest_kept(lambda: map(_load, files), config.keep)
    write_atomically(folder / THRESHOLD, (json.dumps({"lowest": lowest}) + "\n").encode())
    write = partial(write_part, step=folder, captions=captions, lowest=lowest)
    map_parts(write, parts, folder / "parts", runner)


def score_part(part: PartInputs, folder: Path, captions: Path, config: ClipConfig) -> Values:
    """The scores of a part."""
    assert config.model is not None
    rows = _rows(captions / "parts" / part.name / CAPTIONS)
    scores = [np.zeros(0, np.float32)]
    while batch := [(row.picture.data, row.text.strip()) for row in islice(rows, config.batch)]:
        scores.append(_scorer(config.model).score(batch))
    found = np.concatenate(scores)
    np.save(folder / SCORES, found)
    return {"in": len(found), "out": int(np.count_nonzero(~np.isnan(found)))}


def write_part(part: PartInputs, folder: Path, step: Path, captions: Path, lowest: float) -> Values:
    """The pairs of a part that are kept."""
    tally = Tally()
    scores = _load(step / "scores" / part.name / SCORES)
    with DocumentWriter(folder / CAPTIONS) as writer:
        rows = _rows(captions / "parts" / part.name / CAPTIONS)
        for row, score in zip(rows, scores.tolist(), strict=True):
            tally.enter(STEP, UNIT)
            sample = partial(row.show, score)
            if np.isnan(score):
                tally.drop(STEP, UNIT, "not_scored", row.id, sample)
            elif score < lowest:
                tally.drop(STEP, UNIT, "low_clip_score", row.id, sample)
            else:
                writer.write(row.id, row.url, [row.picture, row.text])
                tally.keep(STEP, UNIT, row.id, sample)
            if not np.isnan(score):
                tally.statistics.number("CLIP score of a caption, in hundredths", max(round(100 * score), 0))
    counts = tally.of(STEP, UNIT)
    tally.save(folder)
    return {"in": counts.entered, "out": counts.kept}


@cache
def _scorer(model: Path) -> Scorer:
    """Opened once a process, and only where there is something to score: torch takes a second and 200 MB."""
    from mm1.curation.clip_models import open_scorer

    return open_scorer(model)


def _load(path: Path) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(path)
    return found


def _rows(path: Path) -> Iterator[_Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            yield from map(_row, batch.to_pylist())


def _row(row: dict[str, Any]) -> _Row:
    image, text = row["segments"]
    return _Row(row["id"], row["url"], PictureSegment(image["image"], image["url"], image["alt"]), text["text"])
