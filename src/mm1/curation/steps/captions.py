"""Pages that are no copies → the set of caption pairs.

    said/PART/        the keys of the texts that images have, once with each image
    common/           lookups.py: key of a text → images that it stands with, where they are too many
    pairs/PART/       pairs.parquet, without those of common texts
    copies/           caption_copies.py: which pairs show the image of a better one
    parts/PART/captions.parquet     documents.py: the image, then its text

Pages that break the text rules are asked as well: a gallery has no prose. They were compared with no other page, and
need not be: pairs are compared here, as in the sets that DFN and VeCap start from. One pair an image stays, by its
bytes and its look, which is stricter than one an image and text; a text is common by its different images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mm1.curation.captions import CaptionRules, Pairs, none, pairs, text_key
from mm1.curation.config import CurateConfig
from mm1.curation.decontaminate import open_index
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.engine import Progress, Values, map_parts
from mm1.curation.extracted import Row, read_extracted
from mm1.curation.groups import KEYS, RunWriter, group_keys, run_files, write_lookup, write_sorted
from mm1.curation.images import LookUp, StoredImage
from mm1.curation.lookups import Lookup, key_of
from mm1.curation.page import Dropped
from mm1.curation.runner import Runner
from mm1.curation.samples import Picture, Sample
from mm1.curation.steps import duplicates, occurrences
from mm1.curation.steps.addresses import address_key
from mm1.curation.steps.caption_copies import CANDIDATE, PAIRS, REPEATED, find_repeated
from mm1.curation.steps.extract import PAGES
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.steps.set_images import SetImages, open_store
from mm1.curation.tally import Tally
from mm1.curation.text.language import identify
from mm1.data.templates import answered
from mm1.types import Text

STEP, COPIES_STEP, UNIT = "captions", "caption copies", "image of a page"
CAPTIONS = "captions.parquet"
_SAID = KEYS.append(pa.field("text", pa.uint64()))
_PAIR = pa.schema([*CANDIDATE, ("image", pa.uint64()), ("url", pa.string()), ("alt", pa.string())])
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Inputs:
    """Where earlier steps left what this one needs."""

    found: Path
    pictures: Path
    evaluations: Path | None
    """Their index, if there are any."""
    config: CurateConfig

    @property
    def rules(self) -> CaptionRules:
        return self.config.captions

    def rows(self, part: PartInputs) -> Iterator[tuple[Row, LookUp]]:
        """The pages that are asked, without their paragraphs, each with the images as it sees them."""
        look_up = SetImages(self.found, self.pictures, occurrences.CAPTIONS).of(part.source)
        status = None if part.listed else np.load(part.folders["duplicates"] / duplicates.STATUS)
        wanted = None if status is None else status != duplicates.DUPLICATE
        for row in read_extracted(part.folders["extract"] / PAGES, wanted, only_images=True):
            yield row, look_up

    def pairs(self, row: Row, look_up: LookUp, common: Callable[[str], bool] = none) -> Pairs:
        """The pairs of a page."""
        index = open_index(self.evaluations)
        evaluated = none if index is None else lambda text: index.text_reason(text) is not None
        return pairs(row.page, look_up, self.rules, identify, common, evaluated)


def write_captions(
    folder: Path, parts: Sequence[PartInputs], inputs: Inputs, runner: Runner, progress: Progress | None
) -> None:
    """Fills the folder of the step."""
    map_parts(partial(listen_part, inputs=inputs), parts, folder / "said", runner)
    _find_common(folder, [folder / "said" / part.name for part in parts], inputs.rules.max_occurrences, runner)
    map_parts(partial(pair_part, inputs=inputs, common=folder / "common"), parts, folder / "pairs", runner, progress)
    find_repeated(folder / "copies", parts, folder / "pairs", inputs.rules.max_distance, runner)
    write = partial(write_part, step=folder, pictures=inputs.pictures)
    map_parts(write, parts, folder / "parts", runner)


def listen_part(part: PartInputs, folder: Path, inputs: Inputs) -> Values:
    """Writes down which texts stand with which images; a text that stands with one image twice counts once."""
    count = 0
    with RunWriter(folder, "said", _SAID) as runs:
        for row, look_up in inputs.rows(part):
            for pair in inputs.pairs(row, look_up).pairs:
                text = text_key(pair.text)
                key = key_of(f"{text:016x}{pair.image.picture.md5.hex()}")
                runs.add({"key": key, "order": part.order(row.number), "weight": 1, "text": text})
                count += 1
    return {"out": count}


def _find_common(folder: Path, said: Sequence[Path], most: int, runner: Runner) -> None:
    files = run_files(said, "said")
    texts: list[Path] = []
    for number, found in enumerate(group_keys(files, runner, beside=("text",))):
        ones = pa.array(np.ones(found.num_rows), pa.uint32())
        table = pa.table([found["text"], found["first"], ones], schema=KEYS).sort_by("key")
        texts.append(folder / f"texts-{number:05d}.parquet")
        write_sorted(texts[-1], table, KEYS)
    write_lookup(folder / "common", texts, runner, "total", at_least=most + 1)


def pair_part(part: PartInputs, folder: Path, inputs: Inputs, common: Path) -> Values:
    """The pairs of a part, each as a narrow row with the key of its image."""
    tally, table = Tally(), Lookup(common)
    rows: list[dict[str, Any]] = []
    for row, look_up in inputs.rows(part):
        tally.enter(STEP, UNIT, len(row.page.images))
        found = inputs.pairs(row, look_up, lambda text: table.get(text_key(text)) is not None)
        _offer(tally, row, found.dropped)
        for number, pair in enumerate(found.pairs):
            picture = pair.image.picture
            name = f"{row.id}#{number}"
            rows.append(
                {
                    "order": part.order(len(rows)),
                    "id": name,
                    "text": pair.text,
                    "pixels": picture.width * picture.height,
                    "md5": picture.md5,
                    "hash": picture.look.hash,
                    "colours": picture.look.colours,
                    "image": address_key(pair.url, part.source),
                    "url": pair.url,
                    "alt": pair.alt,
                }
            )
            tally.keep(STEP, UNIT, name, partial(_show, rows[-1]))
    pq.write_table(pa.Table.from_pylist(rows, _PAIR), folder / PAIRS, row_group_size=_ROWS_AT_ONCE, compression="zstd")
    counts = tally.of(STEP, UNIT)
    tally.save(folder)
    return {"in": counts.entered, "out": counts.kept}


def _offer(tally: Tally, row: Row, dropped: Counter[str]) -> None:
    """Counts what a page's images were dropped for; the page's images are the sample."""
    tally.of(STEP, UNIT).dropped.update(dropped)
    images = row.page.images
    shown = tuple(Picture(image.url[:500], (image.caption or image.alt)[:500]) for image in images[:4])
    for reason in dropped:
        tally.samples.offer(STEP, reason, row.id, lambda: Sample(row.url or row.id, shown))


def _show(row: Mapping[str, Any]) -> Sample:
    """A pair; its picture is drawn if it is among the last samples."""
    picture = Picture(row["url"][:500], row["alt"], key=row["image"])
    return Sample(row["url"][:500], (picture, row["text"]))


def write_part(part: PartInputs, folder: Path, step: Path, pictures: Path) -> Values:
    """The documents of a part."""
    tally, dropped, store = Tally(), Lookup(step / "copies" / REPEATED), open_store(pictures)
    with DocumentWriter(folder / CAPTIONS) as writer, pq.ParquetFile(step / "pairs" / part.name / PAIRS) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            _, gone = dropped.find(batch["order"].to_numpy())
            for row, is_gone in zip(batch.to_pylist(), gone.tolist(), strict=True):
                tally.enter(COPIES_STEP, UNIT)
                image = store.get(row["image"])
                assert isinstance(image, StoredImage)
                sample = partial(_show, row)
                if is_gone:
                    tally.drop(COPIES_STEP, UNIT, "repeated_image", row["id"], sample)
                    continue
                picture = PictureSegment(image.data, row["url"], row["alt"])
                try:
                    writer.write(row["id"], row["url"], [picture, *_trained_on(row["text"])])
                except Dropped as drop:
                    tally.drop(COPIES_STEP, UNIT, drop.reason, row["id"], sample)
                    continue
                tally.keep(COPIES_STEP, UNIT, row["id"], sample)
                tally.statistics.number("words a caption", len(row["text"].split()))
    counts = tally.of(COPIES_STEP, UNIT)
    tally.save(folder)
    return {"in": counts.entered, "out": counts.kept}


def _trained_on(caption: str) -> list[str]:
    """The caption as every caption is trained on and asked for."""
    return [part.text for part in answered((), caption) if isinstance(part, Text)]
