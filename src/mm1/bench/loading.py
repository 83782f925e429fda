"""Who is measured by `mm1 bench data`: mm1's loader, and what one builds with webdataset and with grain.

    captioned photos ─┬→ shards ─→ plan, Loader
                      ├→ a tar ──→ webdataset, packs by first fit among open ones
                      └→ a list ─→ grain with its own FirstFitPackIterDataset

All read the same encoded photos and texts, tokenise with the same tokenizer and fill rows of the same length; the peers
decode with Pillow, as their users do, or with mm1's function, so that the pipelines alone differ. One process, one
thread. Knows nothing of how the figures are shown.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image as PillowImage

from mm1.data.collate import collate
from mm1.data.encode import DocumentEncoder
from mm1.data.image import decode_sub_images
from mm1.data.loader import Loader
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig, build_plan
from mm1.data.shards import ShardSource, write_shards
from mm1.data.sub_images import WHOLE
from mm1.data.synthetic.vocabulary import CITIES, COLOURS, LIKES, NAMES, PETS, SHAPES
from mm1.data.tokenizer import train_tokenizer
from mm1.types import Document, Image, Sample, Text

IMAGE_SIZE = 378
NUM_IMAGE_TOKENS = 144
SEQ_LEN = 4096
MAX_IMAGES = 32
"""More than fit with their captions, so that tokens are what fills a row."""

OPEN_PACKS = 16
"""Rows that the peers fill at a time."""

SIZES = ((640, 480), (800, 600), (1024, 768))
"""Of the photos in turn; the usual sizes of web pictures."""

Decode: TypeAlias = Callable[[bytes], np.ndarray]


@dataclass(slots=True)
class Made:
    """What a pipeline made of all documents."""

    batches: int = 0
    documents: int = 0
    filled: int = 0
    """Positions that hold a text or image token."""

    @property
    def fill(self) -> float:
        return self.filled / max(1, self.batches * SEQ_LEN)


@dataclass(frozen=True, slots=True)
class Material:
    """The documents, as each pipeline reads them."""

    documents: list[Document]
    encoder: DocumentEncoder
    shards: Path
    tar: Path

    @property
    def data(self) -> DataConfig:
        groups = (GroupConfig(name="captions", sources=(SourceConfig(name="captions"),)),)
        return DataConfig(
            mixture=MixtureConfig(groups=groups), seq_len=SEQ_LEN, rows=1, max_images=MAX_IMAGES, image_size=IMAGE_SIZE
        )


def make_material(count: int, folder: Path) -> Material:
    """`count` captioned photos in `folder`, as shards and as a tar."""
    documents = [captioned_photo(number) for number in range(count)]
    texts = (part.text for document in documents for part in document.segments if isinstance(part, Text))
    tokenizer = train_tokenizer(texts, 1000, folder / "tokenizer.json")
    encoder = DocumentEncoder(tokenizer, NUM_IMAGE_TOKENS, IMAGE_SIZE)
    write_shards(documents, folder / "shards", "captions", encoder)
    with tarfile.open(folder / "captions.tar", "w") as tar:
        for document in documents:
            image, text = document.segments
            assert isinstance(image, Image)
            assert isinstance(text, Text)
            for ending, data in (("jpg", image.data), ("txt", text.text.encode())):
                member = tarfile.TarInfo(f"{document.id}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return Material(documents, encoder, folder / "shards", folder / "captions.tar")


def captioned_photo(number: int) -> Document:
    """A JPEG with broad shapes and the grain of a sensor, with 15 to 60 words."""
    rng = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    broad = PillowImage.fromarray(rng.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8))
    smooth = np.asarray(broad.resize((width, height), PillowImage.Resampling.BICUBIC), np.float32)
    pixels = smooth + rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    words = random.Random(number).choices((*CITIES, *COLOURS, *LIKES, *NAMES, *PETS, *SHAPES), k=15 + number % 46)
    return Document(f"{number:06d}", (Image(buffer.getvalue()), Text(" ".join(words))), "captions")


def with_pillow(data: bytes) -> np.ndarray:
    """(IMAGE_SIZE, IMAGE_SIZE, 3) uint8 as most pipelines decode: the whole picture, then Pillow's bicubic resize."""
    image = PillowImage.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), PillowImage.Resampling.BICUBIC))


def with_mm1(data: bytes) -> np.ndarray:
    """The same with mm1's own function."""
    (pixels,) = decode_sub_images(data, WHOLE, IMAGE_SIZE)
    return pixels


def pipelines(material: Material, say: Callable[[str], None]) -> dict[str, Callable[[], Made]]:
    """By name, what reads all documents once; peers that are not installed are left out, and it is said."""
    found: dict[str, Callable[[], Made]] = {"mm1": lambda: _mm1(material)}
    peers: dict[str, Callable[[Material, Decode], Made]] = {"webdataset": _webdataset, "grain": _grain}
    for name, run in peers.items():
        if importlib.util.find_spec(name) is None:
            say(f"{name} is not installed, so it is not measured: pip install {name}")
            continue
        for how, decode in (("Pillow", with_pillow), ("mm1's decoding", with_mm1)):
            found[f"{name}, {how}"] = lambda run=run, decode=decode: run(material, decode)  # type: ignore[misc]
    return found


def _mm1(material: Material) -> Made:
    """From opening the shards on: lengths, plan, packing, decoding, collating."""
    source = ShardSource(material.shards)
    plan = build_plan(material.data, {"captions": source}, NUM_IMAGE_TOKENS)
    loader = Loader(plan, material.encoder, {"captions": source})
    stream = plan.streams["captions"]
    stream.count(stream.num_blocks)
    made = Made()
    for batch in loader.batches(0, int(stream.counts[0, -1])):
        made.batches += 1
        made.documents += batch.num_images
        made.filled += int((batch.segment_ids >= 0).sum())
    return made


def _webdataset(material: Material, decode: Decode) -> Made:
    import webdataset  # type: ignore[import-not-found]

    dataset = webdataset.WebDataset(str(material.tar), shardshuffle=False).to_tuple("jpg", "txt")
    made = Made()
    samples = (_sample(material.encoder, decode(data), text.decode()) for data, text in dataset)
    for row in first_fit(samples):
        batch = collate([row], SEQ_LEN, material.encoder, ("captions",))
        made.batches += 1
        made.documents += len(row)
        made.filled += int((batch.segment_ids >= 0).sum())
    return made


def first_fit(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Rows of samples: each goes into the first open row with room; of too many open rows the fullest is let go."""
    rows: list[list[Sample]] = []
    lengths: list[int] = []
    for sample in samples:
        for number, length in enumerate(lengths):
            if length + len(sample) <= SEQ_LEN and len(rows[number]) < MAX_IMAGES:
                rows[number].append(sample)
                lengths[number] += len(sample)
                break
        else:
            if len(rows) == OPEN_PACKS:
                fullest = lengths.index(max(lengths))
                lengths.pop(fullest)
                yield rows.pop(fullest)
            rows.append([sample])
            lengths.append(len(sample))
    yield from rows


def _sample(encoder: DocumentEncoder, pixels: np.ndarray, text: str) -> Sample:
    tokens = _tokens(encoder, text)
    return Sample(
        tokens=tokens,
        loss_mask=np.arange(len(tokens)) >= NUM_IMAGE_TOKENS,
        segment_ids=np.zeros(len(tokens), np.int32),
        image_starts=np.zeros(1, np.int32),
        image_segments=np.zeros(1, np.int32),
        images=(pixels,),
        source="captions",
    )


def _tokens(encoder: DocumentEncoder, text: str) -> np.ndarray:
    tokenizer = encoder.tokenizer
    ids = [*(tokenizer.image_id,) * NUM_IMAGE_TOKENS, *tokenizer.encode(text), tokenizer.eos_id]
    return np.array(ids, np.int32)


class _Encoded:
    """The documents for grain, which reads by number."""

    def __init__(self, documents: Sequence[Document], encoder: DocumentEncoder, decode: Decode) -> None:
        self._documents, self._encoder, self._decode = documents, encoder, decode

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        image, text = self._documents[index].segments
        assert isinstance(image, Image)
        assert isinstance(text, Text)
        return {"tokens": _tokens(self._encoder, text.text), "images": self._decode(image.data)[None]}


def _grain(material: Material, decode: Decode) -> Made:
    logging.getLogger("absl").setLevel(logging.ERROR)  # that there is no jax
    import grain  # type: ignore[import-not-found]
    from grain.experimental import FirstFitPackIterDataset  # type: ignore[import-not-found]

    reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    source: Any = grain.MapDataset.source(_Encoded(material.documents, material.encoder, decode))
    packed = FirstFitPackIterDataset(
        source.to_iter_dataset(reading),
        length_struct={"tokens": SEQ_LEN, "images": MAX_IMAGES},
        num_packing_bins=OPEN_PACKS,
    )
    made = Made()
    for batch in packed:
        made.batches += 1
        made.documents += int(batch["images_segment_ids"].max())
        made.filled += int((batch["tokens_segment_ids"] > 0).sum())
    return made
