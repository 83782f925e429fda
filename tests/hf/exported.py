"""Tiny multimodal checkpoints with weights large enough for greedy text to vary, and what was exported of them."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from PIL import Image as Pictures
from transformers import AutoModelForImageTextToText, AutoProcessor

import mm1.hf  # noqa: F401  (registers)
from mm1.checkpoint import Checkpoint, CheckpointConfig, DataPart, save_checkpoint
from mm1.data.sub_images import SubImagesConfig
from mm1.data.tokenizer import EOS, IMAGE, PAD, train_tokenizer
from mm1.eval.model import MM1Model
from mm1.generate.request import Prompt
from mm1.hf.export_multimodal import export_multimodal
from mm1.models.connector import AttentionPoolConfig, AvgPoolConfig, CAbstractorConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.moe import MoEConfig
from mm1.types import Document, Image, Segment, Text
from tests.sentence_piece import write_sentence_piece

ENCODER = ImageEncoderConfig(image_size=16, patch_size=4, dim=16, num_layers=1, num_heads=2, mlp_dim=32)
DECODER: dict[str, Any] = {"vocab_size": 304, "dim": 32, "num_layers": 2, "mlp_dim": 64}
TWO_BY_TWO = SubImagesConfig.for_resolution(32, image_size=16)
BEST_GRID = SubImagesConfig.model_validate({"grid": {"kind": "best", "min_tiles": 1, "max_tiles": 4}, "fit": "pad"})

VARIANTS: dict[str, tuple[dict[str, Any], Any, SubImagesConfig]] = {
    "tied": ({}, AvgPoolConfig(num_image_tokens=4), SubImagesConfig()),
    "untied": (
        {"tied_embeddings": False, "mlp": "swiglu", "num_kv_heads": 2, "qkv_bias": True, "qk_norm": "head"},
        AvgPoolConfig(num_image_tokens=4),
        SubImagesConfig(),
    ),
    "smeared": (
        {"smeared_keys": True, "num_kv_heads": 2},
        AttentionPoolConfig(num_image_tokens=4, num_heads=2),
        SubImagesConfig(),
    ),
    "sparse": (
        {"moe": MoEConfig(num_experts=4), "mlp": "swiglu"},
        CAbstractorConfig(num_image_tokens=4, hidden_dim=8, depth=1),
        TWO_BY_TWO,
    ),
    "window": (
        {"sliding_window": 7, "norm_placement": "post", "qk_norm": "projection"},
        AvgPoolConfig(num_image_tokens=4),
        BEST_GRID,
    ),
    "sentence piece": (
        {"vocab_size": 400, "tied_embeddings": False},
        AvgPoolConfig(num_image_tokens=4),
        SubImagesConfig(),
    ),
}
"""Decoder, connector and sub-images by name."""


@dataclass(frozen=True)
class Exported:
    """A checkpoint and the folder exported of it."""

    checkpoint: Checkpoint
    folder: Path

    @cached_property
    def own(self) -> MM1Model:
        return MM1Model.load(self.checkpoint.folder)

    @cached_property
    def model(self) -> Any:
        return AutoModelForImageTextToText.from_pretrained(self.folder)

    @cached_property
    def processor(self) -> Any:
        return AutoProcessor.from_pretrained(self.folder)


def write_checkpoint(folder: Path, name: str = "tied", seed: int = 4) -> Checkpoint:
    decoder, connector, sub_images = VARIANTS[name]
    tokenizer = folder / "tokenizer.json"
    words = "user: what is this? assistant: a cat and a dog on the left of <|image|> red, blue, green"
    folder.mkdir(parents=True, exist_ok=True)
    if name == "sentence piece":
        special = {"bos_token": "<s>", "eos_token": EOS, "pad_token": PAD, "image_token": IMAGE}
        write_sentence_piece(folder, [words.replace(IMAGE, "|")] * 3, "normalizer", special)
    else:
        train_tokenizer(iter([words] * 3), 300, tokenizer)
    if name == "untied":
        _add_beginning(tokenizer)
    shape = MM1Config(decoder=DecoderConfig(**{**DECODER, **decoder}), image_encoder=ENCODER, connector=connector)
    torch.manual_seed(seed)
    model = MM1(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    config = CheckpointConfig(model=shape, data=DataPart(sub_images=sub_images))
    return save_checkpoint(folder / "checkpoint", config, model, tokenizer)


def _add_beginning(path: Path) -> None:
    """A token that begins every document."""
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(["<|begin|>"])
    tokenizer.save(str(path))
    names = {"pad_token": PAD, "eos_token": EOS, "image_token": IMAGE, "bos_token": "<|begin|>"}
    path.with_name("tokenizer_config.json").write_text(json.dumps(names))


def export(folder: Path, name: str = "tied") -> Exported:
    checkpoint = write_checkpoint(folder, name)
    return Exported(checkpoint, export_multimodal(checkpoint, folder / "exported"))


def picture(seed: int, width: int = 23, height: int = 17) -> Pictures.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Pictures.fromarray(pixels)


def png(image: Pictures.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def document(*parts: str | Pictures.Image) -> Document:
    """Texts and pictures in order."""
    segments: list[Segment] = [Text(part) if isinstance(part, str) else Image(png(part)) for part in parts]
    return Document("test", tuple(segments))


def prompt(*parts: str | Pictures.Image) -> tuple[str, list[Pictures.Image]]:
    """The same for the processor: a text with placeholders, and the pictures."""
    text = "".join(part if isinstance(part, str) else "<|image|>" for part in parts)
    return text, [part for part in parts if not isinstance(part, str)]


Parts = tuple[Any, ...]
"""Texts and pictures of one prompt."""

PROMPTS: list[Parts] = [
    ("a cat and",),
    (picture(0), "user: what is this?"),
    ("the left of ", picture(1), picture(2, 31, 9), " and a dog", picture(3, 9, 31), " is red"),
]
"""With 0, 1 and 3 images."""

NEW = 12


def inputs(exported: Exported, *prompts: Parts) -> Any:
    """What the processor makes of them, padded on the left."""
    texts, images = zip(*(prompt(*parts) for parts in prompts), strict=True)
    given = list(images) if any(images) else None
    return exported.processor(text=list(texts), images=given, padding=True, return_tensors="pt")


def own_tokens(exported: Exported, *prompts: Parts) -> list[list[int]]:
    """What mm1's engine makes of the prompts."""
    own = exported.own
    asked = [Prompt.of(own.encoder.encode(document(*parts), end=False), max_new_tokens=NEW) for parts in prompts]
    return [list(done.tokens) for done in own.engine.generate(asked)]


def new_tokens(exported: Exported, given: Any, **settings: Any) -> list[list[int]]:
    """What transformers makes of them, without the end of text and what follows it."""
    settings = {"max_new_tokens": NEW, "do_sample": False, **settings}
    ids = exported.model.generate(**given, **settings)[:, given["input_ids"].shape[1] :]
    eos = exported.checkpoint.tokenizer.eos_id
    return [list(itertools.takewhile(lambda token: token != eos, row)) for row in ids.tolist()]


Variant = Callable[[str], Exported]


def variants(factory: pytest.TempPathFactory) -> Variant:
    """Exports each variant when it is first asked for."""
    made: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in made:
            made[name] = export(factory.mktemp(name), name)
        return made[name]

    return get
