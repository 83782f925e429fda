"""`mm1 bench data`: packed batches, decoded photos and prepared documents a second, on one core.

    loading      mm1's loader beside a webdataset and a grain pipeline, over the same captioned photos
    decoding     a JPEG to 378 x 378, beside Pillow
    preparing    an img2dataset-like tar to shards, with the parts of the time that reading and tokenising take

Everything runs in this process and one thread, a repetition of each in turn; what is compared are medians.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pydantic import PositiveInt
from rich.table import Table

from mm1.bench.contestant import Timing, timed
from mm1.bench.figures import STEADY, unsteady
from mm1.bench.loading import SEQ_LEN, SIZES, Made, Material, make_material, pipelines, with_mm1, with_pillow
from mm1.chain.parts import CHECKED_AT, Part, parts_of, write_part
from mm1.chain.summary import environment
from mm1.config import Config
from mm1.data.formats.files import FilesConfig
from mm1.data.image import read_image
from mm1.data.threads import one_thread
from mm1.types import Document, Image, Text

CPU = torch.device("cpu")


class DataBenchConfig(Config):
    """How much is measured."""

    documents: PositiveInt = 300
    repetitions: PositiveInt = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFigures:
    """All repetitions; pipelines by name."""

    environment: dict[str, Any]
    documents: int
    bytes: int
    """Of photos and texts."""
    made: dict[str, Made]
    loading: dict[str, list[Timing]]
    decoding: dict[str, list[Timing]]
    """Of "Pillow" and "mm1": all photos."""
    preparing: dict[str, list[Timing]]
    """Of "all", and of parts of it alone: "reading", "checking pictures", "tokenising"; the rest is writing."""

    def seconds(self, part: Mapping[str, list[Timing]], key: str) -> float:
        """Median of the repetitions."""
        return median(timing.seconds for timing in part[key])

    def batches_per_second(self, key: str) -> float:
        """Of a pipeline."""
        return self.made[key].batches / self.seconds(self.loading, key)

    def ratio(self, peer: str) -> float:
        """How many times as many tokens a second mm1's loader packs; batches, were all equally full."""
        rate, other = (self.made[key].filled / self.seconds(self.loading, key) for key in ("mm1", peer))
        return rate / other

    def decoding_ratio(self) -> float:
        """How many times as many photos a second mm1 decodes as Pillow."""
        return self.seconds(self.decoding, "Pillow") / self.seconds(self.decoding, "mm1")

    def steadiness(self) -> float:
        """As in the bench of training: the least processor share of a repetition beside its own most."""
        rows = [*self.loading.values(), *self.decoding.values()]
        shares = [[timing.cpu_seconds / timing.seconds for timing in timings] for timings in rows]
        return min(min(each) / max(each) for each in shares)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with every repetition's seconds."""
        return {
            "bench": "data",
            "environment": self.environment,
            "documents": self.documents,
            "bytes": self.bytes,
            "loading": {
                key: {
                    "batches_per_second": self.batches_per_second(key),
                    "fill": made.fill,
                    "ratio": self.ratio(key),
                    "timings": [asdict(timing) for timing in self.loading[key]],
                }
                for key, made in self.made.items()
            },
            "decoding": {
                "ratio": self.decoding_ratio(),
                "photos_per_second": {key: self.documents / self.seconds(self.decoding, key) for key in self.decoding},
            },
            "preparing": {key: self.seconds(self.preparing, key) for key in self.preparing},
            "steadiness": self.steadiness(),
        }


def bench_data(config: DataBenchConfig, say: Callable[[str], None]) -> DataFigures:
    """Measures, and says what it is doing and which peers are not installed."""
    load = os.getloadavg()[0]
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        say(f"making {config.documents} captioned photos")
        material = make_material(config.documents, Path(folder))
        runs = pipelines(material, say)
        photos = [image.data for document in material.documents for image in document.images]
        decoders = {"Pillow": with_pillow, "mm1": with_mm1}
        made = {key: run() for key, run in runs.items()}
        return DataFigures(
            environment={**environment(), "load": load, **_versions()},
            documents=len(photos),
            bytes=sum(_size(document) for document in material.documents),
            made=made,
            loading=_in_turn({key: _loads(run) for key, run in runs.items()}, config.repetitions, "loading", say),
            decoding=_in_turn(
                {key: _decodes(decode, photos) for key, decode in decoders.items()}, config.repetitions, "decoding", say
            ),
            preparing=_in_turn(_prepares(material, photos, Path(folder)), config.repetitions, "preparing", say),
        )


def _loads(run: Callable[[], Made]) -> Callable[[], None]:
    def work() -> None:
        run()

    return work


def _decodes(decode: Callable[[bytes], Any], photos: list[bytes]) -> Callable[[], None]:
    def work() -> None:
        for data in photos:
            decode(data)

    return work


def _prepares(material: Material, photos: list[bytes], folder: Path) -> dict[str, Callable[[], None]]:
    """Preparing the tar with one process, and parts of that work alone."""
    files = FilesConfig(name="captions", paths=(material.tar,))
    (part,) = parts_of(files)
    texts = [text.text for document in material.documents for text in document.segments if isinstance(text, Text)]

    def everything() -> None:
        write_part(part, folder / "prepared", material.encoder.tokenizer.path, lambda *_: None)

    def reading() -> None:
        _exhaust(part)

    def tokenising() -> None:
        for text in texts:
            material.encoder.tokenizer.encode(text)

    def checking() -> None:
        for photo in photos:
            read_image(photo, CHECKED_AT)

    return {"all": everything, "reading": reading, "checking pictures": checking, "tokenising": tokenising}


def _exhaust(part: Part) -> None:
    for _ in part.items():
        pass


def _in_turn(
    works: Mapping[str, Callable[[], None]], repetitions: int, what: str, say: Callable[[str], None]
) -> dict[str, list[Timing]]:
    """Every work in turn, every second round backwards, after one round that does not count."""
    timings: dict[str, list[Timing]] = {key: [] for key in works}
    for work in works.values():
        work()
    for repetition in range(repetitions):
        for key in [*works][:: -1 if repetition % 2 else 1]:
            timings[key].append(timed(works[key], CPU))
    say(f"{what}: " + ", ".join(f"{key} {median(row.seconds for row in rows):.2f} s" for key, rows in timings.items()))
    return timings


def _size(document: Document) -> int:
    return sum(len(part.data if isinstance(part, Image) else part.text) for part in document.segments)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("pillow", "webdataset", "grain"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def tables(figures: DataFigures) -> list[Table]:
    """Loading; decoding and preparing."""
    loading = Table(title=f"Packed rows of {SEQ_LEN:,} positions on one core", title_justify="left", box=None)
    for name in ("", "rows/s", "documents/s", "fill", "mm1 is faster by"):
        loading.add_column(name, justify="right" if name else "left")
    for key, made in figures.made.items():
        documents = made.documents / figures.seconds(figures.loading, key)
        ratio = "" if key == "mm1" else f"{figures.ratio(key):.2f}"
        loading.add_row(key, f"{figures.batches_per_second(key):.1f}", f"{documents:,.0f}", f"{made.fill:.1%}", ratio)
    rest = Table(title="Decoding and preparing on one core", title_justify="left", box=None, show_header=False)
    rest.add_column()
    rest.add_column(justify="right")
    for key in figures.decoding:
        photos = figures.documents / figures.seconds(figures.decoding, key)
        rest.add_row(f"photos/s to 378 x 378, {key}", f"{photos:,.0f}")
    rest.add_row("mm1 is faster by", f"{figures.decoding_ratio():.2f}")
    whole = figures.seconds(figures.preparing, "all")
    rest.add_row("prepared documents/s", f"{figures.documents / whole:,.0f}")
    rest.add_row("prepared MB/s", f"{figures.bytes / whole / 1e6:,.0f}")
    for key in [key for key in figures.preparing if key != "all"]:
        rest.add_row(f"  share of {key}", f"{figures.seconds(figures.preparing, key) / whole:.0%}")
    return [loading, rest]


def lines(figures: DataFigures) -> list[str]:
    """What stands below the tables."""
    made_on = figures.environment
    sizes = ", ".join(f"{width} x {height}" for width, height in SIZES)
    versions = ", ".join(f"{name} {made_on[name]}" for name in ("pillow", "webdataset", "grain") if name in made_on)
    return [
        f"{figures.documents:,} JPEGs of {sizes} with 15 to 60 words, {figures.bytes / 1e6:.0f} MB. Medians of "
        f"{len(figures.loading['mm1'])} repetitions in turn; one thread of {made_on['processor']}, "
        f"torch {made_on['torch']}, {versions}, load {made_on['load']:.1f} at the start.",
        "Faster by: non-padding tokens a second, mm1's over the other's. All read from the page cache, tokenise with "
        "one tokenizer and fill rows within the same two budgets. mm1 opens its shards, plans and packs inside the "
        "time measured, in a shuffled order that can be resumed at any step; grain reads from memory.",
        "Pillow: the whole picture decoded, then resized with its bicubic filter. mm1: decoded by its libjpeg-turbo, "
        "large photos at a half, a quarter or an eighth but never below twice the size, then resized by PyTorch.",
        *([] if figures.steadiness() >= STEADY else [unsteady(figures.steadiness())]),
    ]
