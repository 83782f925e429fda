"""Small material for the data tests: pictures, documents, one tokenizer."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image as PillowImage
from tokenizers import Tokenizer as HFTokenizer

from mm1.data.encode import DocumentEncoder
from mm1.data.sources import ListSource, MeasuredSource
from mm1.data.tokenizer import EOS, IMAGE, PAD, TOKENIZER_CONFIG, Tokenizer, train_tokenizer
from mm1.types import Document, Image, Segment, Text

# A busy machine is slow without being wrong.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

WORDS = ("a", "the", "big", "small", "red", "blue", "green", "circle", "square", "star", "above", "left", "of", "and")


class Make:
    """Makes documents and pictures; a fixture, because test modules can not import each other."""

    @staticmethod
    def words(rng: random.Random, count: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(count))

    @staticmethod
    def file(pixels: np.ndarray, file_format: str = "PNG", **options: object) -> bytes:
        """`pixels` (H, W) or (H, W, C) uint8 as an image file."""
        buffer = io.BytesIO()
        PillowImage.fromarray(pixels).save(buffer, file_format, **options)
        return buffer.getvalue()

    @staticmethod
    def picture(number: int, size: int = 8) -> Image:
        """A plain picture whose colour tells its number: red = number % 256, green = number // 256."""
        pixels = np.zeros((size, size, 3), np.uint8)
        pixels[:] = (number % 256, number // 256, 7)
        return Image(Make.file(pixels))

    @staticmethod
    def sized(number: int, width: int, height: int, **options: object) -> Image:
        """A noisy picture of some size, in whose pixels no number stands."""
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image(Make.file(pixels, **options))

    @staticmethod
    def tokenizer_with_bos(tokenizer: Tokenizer, folder: Path) -> Tokenizer:
        """A copy of `tokenizer` in `folder` that has a BOS."""
        file = HFTokenizer.from_file(str(tokenizer.path))
        file.add_special_tokens(["<s>"])
        file.save(str(folder / "tokenizer.json"))
        names = {"pad_token": PAD, "eos_token": EOS, "image_token": IMAGE, "bos_token": "<s>"}
        (folder / TOKENIZER_CONFIG).write_text(json.dumps(names))
        return Tokenizer(folder / "tokenizer.json")

    @staticmethod
    def web(number: int, num_images: int) -> Document:
        """A text, then images with texts after them; the pictures carry the document's number."""
        rng = random.Random(f"web {number}")
        segments: list[Segment] = [Text(Make.words(rng, 3))]
        for _ in range(num_images):
            segments += [Make.picture(number), Text(Make.words(rng, rng.randint(2, 9)))]
        return Document(id=f"web/{number}", segments=tuple(segments), source="web")

    @staticmethod
    def caption(number: int) -> Document:
        rng = random.Random(f"caption {number}")
        segments = (Make.picture(number), Text(Make.words(rng, rng.randint(2, 14))))
        return Document(id=f"captions/{number}", segments=segments, source="captions")

    @staticmethod
    def text(number: int) -> Document:
        rng = random.Random(f"text {number}")
        return Document(id=f"text/{number}", segments=(Text(Make.words(rng, rng.randint(5, 40))),), source="text")


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    rng = random.Random(0)
    texts = [Make.words(rng, 20) for _ in range(50)] + ["<|image|> <|endoftext|>"] * 20
    return train_tokenizer(iter(texts), 400, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture(scope="session")
def encoder(tokenizer: Tokenizer) -> DocumentEncoder:
    return DocumentEncoder(tokenizer, num_image_tokens=4, image_size=8)


@pytest.fixture(scope="session")
def sources(encoder: DocumentEncoder) -> dict[str, MeasuredSource]:
    """Three sources of different kinds, small enough to go through several epochs."""
    documents = {
        "captions": [Make.caption(number) for number in range(300)],
        "web": [Make.web(number, number % 6) for number in range(200)],
        "text": [Make.text(number) for number in range(150)],
    }
    return {name: MeasuredSource(ListSource(name, rows), encoder) for name, rows in documents.items()}
