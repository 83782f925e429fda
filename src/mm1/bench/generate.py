"""`mm1 bench generate`: few-shot evaluation by mm1's engine beside transformers' `generate`, with the same weights.

    [8 shots | question 1]  ─┬→ mm1: shots encoded and computed once, all questions in one batch
    [8 shots | question 2]   ├→ transformers, padded batches of 8
    …                        └→ transformers, padded batches of 32      (the folder that `mm1 export` writes)

Every contestant turns the same documents into texts, greedily, a repetition of each in turn; medians are compared, of
everything and of generation alone. mm1 begins every repetition with an empty memory.
"""

from __future__ import annotations

import io
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import PIL.Image
import torch

from mm1.bench.contestant import Timing
from mm1.bench.generate_figures import OURS, Figures, GenerateBenchConfig, Round
from mm1.chain.prepare import train_on_heads
from mm1.chain.summary import environment
from mm1.checkpoint import Checkpoint, CheckpointConfig, save_checkpoint
from mm1.config import UserError
from mm1.data import templates
from mm1.data.embedded import CaptionRecord, caption_records
from mm1.data.embedded_source import captioned
from mm1.distributed.mesh import joined
from mm1.eval.model import MM1Model
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.recipes.tiny import tiny
from mm1.types import Document, Image, Text


class Contestant(Protocol):
    """Answers all questions of the measurement in every repetition."""

    name: str

    def run(self) -> Round: ...


def bench_generate(config: GenerateBenchConfig, say: Callable[[str], None]) -> Figures:
    """Measures, and says what it is doing.

    Raises:
        UserError: transformers is not installed, there is no such device, or torchrun started several processes.
    """
    if find_spec("transformers") is None:
        raise UserError("mm1 bench generate compares with transformers: install mm1[hf]")
    load = os.getloadavg()[0]
    with joined(config.device) as world, tempfile.TemporaryDirectory() as name:
        if world.size > 1:
            raise UserError(f"mm1 bench measures one process, but {world.size} were started: leave torchrun out")
        say("making a model and prompts")
        checkpoint = make_checkpoint(config, Path(name))
        asked = prompts(config)
        ours = Ours(checkpoint, asked, config.new_tokens, world.device)
        figures = Figures(
            config=config,
            device=str(world.device),
            environment={**environment(), "transformers": version("transformers"), "load": load},
            parameters=sum(parameter.numel() for parameter in ours.model.parameters()),
            prompt_positions=sum(ours.lengths()) / len(asked),
        )
        contestants: list[Contestant] = [ours, *_peers(checkpoint, asked, config, world.device, Path(name))]
        for one in contestants:
            say(f"warming up {one.name}")
            one.run()
        for repetition in range(config.repetitions):
            for one in contestants[:: -1 if repetition % 2 else 1]:
                figures.rounds.setdefault(one.name, []).append(one.run())
            seconds = ", ".join(f"{name} {rounds[-1].timing.seconds:.1f} s" for name, rounds in figures.rounds.items())
            say(f"repetition {repetition + 1} of {config.repetitions}: {seconds}")
    return figures


def make_checkpoint(config: GenerateBenchConfig, folder: Path) -> Checkpoint:
    """A model with random weights, large enough for greedy texts to vary, and the tiny recipe's tokenizer."""
    recipe = tiny()
    tokenizer = train_on_heads(recipe.prepare, folder / "tokenizer.json")
    shape = recipe.pretrain.model
    assert isinstance(shape, MM1Config)
    if config.model == "small":
        shape = MM1Config(
            decoder=DecoderConfig(
                vocab_size=tokenizer.vocab_size, dim=512, num_layers=6, num_heads=8, mlp_dim=1408, mlp="swiglu"
            ),
            image_encoder=ImageEncoderConfig(
                image_size=224, patch_size=14, dim=256, num_layers=6, num_heads=4, mlp_dim=1024
            ),
            connector=AvgPoolConfig(num_image_tokens=64),
        )
    torch.manual_seed(0)
    model = MM1(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    return save_checkpoint(folder / "checkpoint", CheckpointConfig(model=shape), model, tokenizer.path)


def prompts(config: GenerateBenchConfig) -> list[Document]:
    """Questions after the same shots, on real pictures of the embedded sample."""
    records = caption_records("train")
    shots = [part for record in records[: config.shots] for part in captioned(record)]
    asked = itertools.islice(itertools.cycle(records[config.shots :]), config.questions)
    return [_prompt(number, shots, record) for number, record in enumerate(asked)]


def _prompt(number: int, shots: Sequence[Image | Text], record: CaptionRecord) -> Document:
    segments = templates.merged((*shots, *templates.caption_prompt(Image(record.image))))
    return Document(id=str(number), segments=segments)


class Ours:
    """mm1's engine, all questions in one call."""

    name = OURS

    def __init__(
        self, checkpoint: Checkpoint, asked: Sequence[Document], new_tokens: int, device: torch.device
    ) -> None:
        self.checkpoint = checkpoint
        self.asked = asked
        self.new_tokens = new_tokens
        self.model = checkpoint.load_model(device, _dtype(device))

    def lengths(self) -> list[int]:
        """Positions of each prompt."""
        made = MM1Model.of(self.model, self.checkpoint.tokenizer)
        return [len(made.prompt(document).tokens) for document in self.asked]

    def run(self) -> Round:
        made = MM1Model.of(self.model, self.checkpoint.tokenizer)  # with a memory of its own
        began, cpu = time.perf_counter(), time.process_time()
        given = [made.prompt(document, self.new_tokens) for document in self.asked]
        ready = time.perf_counter()
        done = made.engine.generate(given)
        texts = tuple(self.checkpoint.tokenizer.decode(one.tokens) for one in done)
        seconds = time.perf_counter() - began
        timing = Timing(seconds=seconds, cpu_seconds=time.process_time() - cpu, data_seconds=ready - began)
        statistics = made.engine.statistics
        return Round(
            timing=timing,
            texts=texts,
            new_tokens=statistics.new_tokens,
            images_encoded=statistics.images_encoded,
            statistics=statistics,
        )


class Transformers:
    """The exported model, its processor, and `generate` on padded batches."""

    def __init__(
        self, folder: Path, asked: Sequence[Document], new_tokens: int, batch: int, model: Any, device: torch.device
    ) -> None:
        from transformers import AutoProcessor

        self.name = f"transformers, {batch} a batch"
        self.asked = asked
        self.new_tokens = new_tokens
        self.batch = batch
        self.model = model
        self.device = device
        self.processor = AutoProcessor.from_pretrained(folder)

    def run(self) -> Round:
        began, cpu, data_seconds = time.perf_counter(), time.process_time(), 0.0
        texts: list[str] = []
        new_tokens = images = 0
        tokenizer = self.processor.tokenizer
        for start in range(0, len(self.asked), self.batch):
            making = time.perf_counter()
            given = self._inputs(self.asked[start : start + self.batch])
            data_seconds += time.perf_counter() - making
            with torch.inference_mode():
                whole = self.model.generate(**given, max_new_tokens=self.new_tokens, do_sample=False)
            new = whole[:, given["input_ids"].shape[1] :]
            new_tokens += int(((new != tokenizer.pad_token_id) & (new != tokenizer.eos_token_id)).sum())
            images += len(given["pixel_values"])
            texts += tokenizer.batch_decode(new, skip_special_tokens=True)
        seconds = time.perf_counter() - began
        timing = Timing(seconds=seconds, cpu_seconds=time.process_time() - cpu, data_seconds=data_seconds)
        return Round(timing=timing, texts=tuple(texts), new_tokens=new_tokens, images_encoded=images)

    def _inputs(self, asked: Sequence[Document]) -> Any:
        token = self.processor.image_token
        text = ["".join(p.text if isinstance(p, Text) else token for p in document.segments) for document in asked]
        images = [[PIL.Image.open(io.BytesIO(image.data)) for image in document.images] for document in asked]
        return self.processor(text=text, images=images, padding=True, return_tensors="pt").to(self.device)


def _peers(
    checkpoint: Checkpoint, asked: Sequence[Document], config: GenerateBenchConfig, device: torch.device, folder: Path
) -> list[Transformers]:
    """One for each size of batch, all with one model."""
    from transformers import AutoModelForImageTextToText

    import mm1.hf  # noqa: F401  (registers)
    from mm1.hf.export_multimodal import export_multimodal

    exported = export_multimodal(checkpoint, folder / "exported")
    model = AutoModelForImageTextToText.from_pretrained(exported, dtype=_dtype(device)).to(device).eval()
    return [Transformers(exported, asked, config.new_tokens, batch, model, device) for batch in config.batches]


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32
