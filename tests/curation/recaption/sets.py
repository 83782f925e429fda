"""Small sets of pairs, a small model, and a writer without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from mm1.checkpoint import CheckpointConfig, save_checkpoint
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.recaption.writers import Heard, Question, Said
from mm1.data.tokenizer import train_tokenizer
from mm1.eval.chat_api import Answer
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from tests.curation.site import picture


def write_set(folder: Path, *counts: int) -> Path:
    """Files of so many pairs: p0#0 "Words number 0 of page 0", …"""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in enumerate(counts):
        with DocumentWriter(folder / f"part-{part}.parquet") as writer:
            for number in range(count):
                shown = PictureSegment(
                    picture(100 * part + number, 80, 60), f"https://a.example/{number}.png", "an alt"
                )
                said = f" Words number {number} of page {part}\n"
                writer.write(f"p{part}#{number}", f"https://a.example/{part}", [shown, said])
    return folder


def rows(out: Path) -> list[dict[str, Any]]:
    """The documents of a recaptioned set."""
    return [row for path in sorted((out / "recaptioned").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def text_of(row: dict[str, Any]) -> str:
    """What a document is trained on."""
    return "".join(part["text"] for part in row["segments"] if part["type"] == "text")


class Script:
    """Answers as it is told, one question after the other."""

    def __init__(self, says: Callable[[Question], Said | str], name: str = "script") -> None:
        self.says, self.name = says, name
        self.asked: list[Question] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def write(self, questions: Mapping[str, Question], heard: Heard) -> None:
        for key, question in questions.items():
            self.asked.append(question)
            said = self.says(question)
            heard(key, Answer(said, f"{self.name}-2", "stop") if isinstance(said, str) else said)


def checkpoint(folder: Path, images: bool = True) -> Path:
    """Random weights, large enough for texts to vary; it never ends a text by itself soon."""
    tokenizer = train_tokenizer(iter(["a red circle on a wall\n", "what is it? a blue square\n"] * 9), 300,
                                folder.parent / "tokenizer.json")  # fmt: skip
    encoder = ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32)
    decoder = DecoderConfig(vocab_size=tokenizer.vocab_size, dim=32, num_layers=2, mlp_dim=64)
    shape = MM1Config(decoder=decoder)
    if images:
        shape = MM1Config(decoder=decoder, image_encoder=encoder, connector=AvgPoolConfig(num_image_tokens=4))
    torch.manual_seed(0)
    model = MM1(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    save_checkpoint(folder, CheckpointConfig(model=shape), model, tokenizer.path)
    return folder
