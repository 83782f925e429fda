"""What every contestant trains on: the documents of a few steps of a recipe's pretraining, made in memory.

    workload = make_workload(tiny(), steps=8, folder=temporary)
    workload.batches()      # the recipe's own packed batches
    workload.samples        # the same documents one by one, in the order in which those batches hold them

The samples are taken out of the recipe's batches, so that no contestant can see another token or picture. Knows nothing
of models or of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from mm1.chain.parts import build_source
from mm1.chain.prepare import TOKENIZER, PrepareConfig, train_on_heads
from mm1.chain.recipe import RecipeConfig
from mm1.data.collate import collate
from mm1.data.embedded_source import EmbeddedConfig
from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.packing import members, pack
from mm1.data.plan import DataConfig
from mm1.data.sources import ListSource, MeasuredSource, Source
from mm1.data.synthetic.source import SyntheticConfig
from mm1.data.tokenizer import Tokenizer
from mm1.train.run import build_loader
from mm1.types import IGNORE, Batch, Sample

SIDE = 64
"""A row that must hold the longest document is a multiple of so many positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The documents of some training steps, and what of them is useful work."""

    tokenizer: Tokenizer
    loader: Loader
    steps: int
    samples: list[Sample]
    """Each with the recipe's number of image tokens."""
    supervised_tokens: int
    """Text tokens that are predicted."""
    text_tokens: int
    """All text tokens, ends of documents included."""
    images: int

    def batches(self) -> Iterator[Batch]:
        """The recipe's own batches, read, decoded and packed as they are asked for."""
        return self.loader.batches(0, self.steps)


def make_workload(recipe: RecipeConfig, steps: int, folder: Path, documents_per_source: int) -> Workload:
    """The documents of the first `steps` steps of the recipe's pretraining.

    Args:
        recipe: whose sources, tokenizer and packing are used.
        steps: training steps of the recipe.
        folder: where the tokenizer is written.
        documents_per_source: from the head of each source; a source that needs more begins again.
    """
    stage = recipe.pretrain
    tokenizer = train_on_heads(recipe.prepare, folder / TOKENIZER)
    encoder = DocumentEncoder(tokenizer, stage.model.num_image_tokens, stage.data.image_size)
    sources = head_of_sources(recipe.prepare, list(stage.data.mixture.shares()), encoder, documents_per_source)
    loader = build_loader(stage, sources, tokenizer)
    samples = [sample for batch in loader.batches(0, steps) for sample in unpack(batch)]
    return Workload(
        tokenizer=tokenizer,
        loader=loader,
        steps=steps,
        samples=samples,
        supervised_tokens=sum(int(sample.loss_mask.sum()) for sample in samples),
        text_tokens=sum(int((sample.tokens != tokenizer.image_id).sum()) for sample in samples),
        images=sum(len(sample.images) for sample in samples),
    )


def head_of_sources(
    config: PrepareConfig, names: Sequence[str], encoder: DocumentEncoder, documents_per_source: int
) -> dict[str, Source]:
    """The sources named, their first documents held in memory."""
    sources: dict[str, Source] = {}
    for source_config in config.sources:
        if source_config.name in names:
            assert isinstance(source_config, SyntheticConfig | EmbeddedConfig), "a measured recipe makes its documents"
            whole = build_source(source_config)
            head = [whole.document(index) for index in range(min(len(whole), documents_per_source))]
            sources[source_config.name] = MeasuredSource(ListSource(source_config.name, head), encoder)
    return sources


def unpack(batch: Batch) -> Iterator[Sample]:
    """The documents of a packed batch, row by row; a document's first token, which nothing predicts, is no target."""
    num_image_tokens = int((batch.image_index >= 0).sum()) // max(1, batch.num_images)
    images = batch.images.permute(0, 2, 3, 1).numpy()
    for row, segment_ids in enumerate(batch.segment_ids.numpy()):
        for segment in range(segment_ids.max() + 1):
            here = segment_ids == segment
            tokens = batch.tokens[row].numpy()[here].astype(np.int32)
            index = batch.image_index[row].numpy()[here]
            starts = np.flatnonzero((index >= 0) & (index % max(1, num_image_tokens) == 0)).astype(np.int32)
            yield Sample(
                tokens=tokens,
                loss_mask=np.roll(batch.targets[row].numpy()[here] != IGNORE, 1),
                segment_ids=np.zeros(len(tokens), np.int32),
                image_starts=starts,
                image_segments=np.zeros(len(starts), np.int32),
                images=tuple(images[number] for number in index[starts] // max(1, num_image_tokens)),
                source=batch.source_names[int(batch.source_ids[row].numpy()[here][0])],
            )


def with_image_tokens(sample: Sample, num_image_tokens: int, image_id: int) -> Sample:
    """The same document with `num_image_tokens` positions an image."""
    repeats = np.where(sample.tokens == image_id, 0, 1)
    repeats[sample.image_starts] = num_image_tokens
    begins = np.cumsum(repeats) - repeats
    return replace(
        sample,
        tokens=np.repeat(sample.tokens, repeats),
        loss_mask=np.repeat(sample.loss_mask, repeats),
        segment_ids=np.repeat(sample.segment_ids, repeats),
        image_starts=begins[sample.image_starts].astype(np.int32),
    )


def longer_rows(data: DataConfig, samples: Sequence[Sample]) -> DataConfig:
    """`data` with rows long enough for the longest of `samples`, and about as many positions a step as before."""
    longest = max(len(sample) for sample in samples)
    seq_len = max(data.seq_len, -(-longest // SIDE) * SIDE)
    return data.replace(seq_len=seq_len, rows=max(1, data.rows * data.seq_len // seq_len))


def packed(samples: Sequence[Sample], data: DataConfig, encoder: DocumentEncoder) -> list[Batch]:
    """All of `samples`, packed in rows, as batches of what `data` has in a step; a batch is one long row."""
    lengths = np.array([len(sample) for sample in samples])
    images = np.array([len(sample.images) for sample in samples])
    order, bounds = members(pack(lengths, images, data.seq_len, data.max_images))
    ends = bounds[:: data.rows].tolist() + ([bounds[-1]] if (len(bounds) - 1) % data.rows else [])
    names = tuple(data.mixture.shares())
    return [
        collate([[samples[index] for index in order[start:stop]]], data.rows * data.seq_len, encoder, names)
        for start, stop in pairwise(ends)
    ]
