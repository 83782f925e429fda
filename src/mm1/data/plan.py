"""Which documents stand in which row of which step: a frozen, pure function of (config, sources, step).

    plan = build_plan(config, {"captions": captions, "pages": pages}, num_image_tokens=4)
    plan.rows(17)          # rows of units (source, document, start, stop): one row a sequence of the global batch
    plan.declared          # {"captions": 0.5, "pages": 0.5}, beside plan.realised(100) and plan.epochs(100)

As in MM1, each sequence is drawn from one source, and the mixture is a snapshot: the same for every model, rank and
resume. Each source's order hangs on its own name, so adding another leaves it as it was. Knows nothing of documents'
content nor of ranks.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import Field

from mm1.config import Config, Count, Seed, UserError, from_json, to_json
from mm1.data.budget import Budget, Unit
from mm1.data.mixture import Deal, GroupConfig, MixtureConfig, SourceConfig
from mm1.data.sources import Source
from mm1.data.stream import BLOCK, SourceStream
from mm1.data.sub_images import SubImagesConfig
from mm1.files import write_atomically

__all__ = [
    "DataConfig",
    "GroupConfig",
    "MixtureConfig",
    "Plan",
    "Row",
    "SourceConfig",
    "Unit",
    "build_plan",
    "load_plan",
]

PLAN = "plan.json"

JUDGED_BLOCKS = 8
"""Blocks of each source by which its targets a sequence are judged, where weights are shares of targets."""

Row: TypeAlias = "list[Unit]"
"""What one sequence of a batch holds, left to right; all from one source."""

News: TypeAlias = dict[str, tuple[int, np.ndarray]]
"""By source: a number of blocks, and the counts before that block and before each of those that were counted next."""


class DataConfig(Config):
    """What a run reads, in which shape and order."""

    mixture: MixtureConfig
    seq_len: Count
    """Positions of a row: text tokens, image tokens, BOS and EOS."""
    rows: Count
    """Sequences of the global batch, over all ranks and accumulation steps."""
    max_images: Count = 16
    """Images in a row at most, as the image encoder counts them: each sub-image is one. MM1's pre-training has 16."""
    image_size: Count
    """Pixels of a decoded image's side."""
    sub_images: SubImagesConfig = SubImagesConfig()
    """How a picture becomes images of that size; by default it is squashed to one."""
    seed: Seed = 0
    max_dropped_share: float = Field(0.05, ge=0, le=1)
    """Share of units replaced because an image could not be decoded; past it the run stops."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run will read of a source."""

    documents: int
    """That it has."""
    sequences: int
    epochs: float
    fill: float
    """Share of the positions of its sequences that is not padding."""


class Plan:
    """Rows by step. Made by `build_plan` or `load_plan`; picklable, so that loader workers have their own."""

    def __init__(
        self, config: DataConfig, sources: Mapping[str, Source], num_image_tokens: int, pairs: bool, bos: bool
    ) -> None:
        _check_room(config, num_image_tokens, pairs, bos)
        self.config = config
        self.pairs = pairs
        self.bos = bos
        self.num_image_tokens = num_image_tokens
        self.declared: dict[str, float] = config.mixture.shares()
        measure = config.mixture.measure
        self.budget = Budget(
            capacity=config.seq_len,
            max_images=config.max_images,
            num_image_tokens=num_image_tokens,
            image_size=config.image_size,
            sub_images=config.sub_images,
            pairs=pairs,
            bos=bos,
            counts_targets=measure == "target_tokens",
        )
        self.streams: dict[str, SourceStream] = {}
        self._told: dict[str, int] = {}
        for name in self.declared:
            if name not in sources:
                raise UserError(f"the mixture reads '{name}', which is not among the sources {sorted(sources)}")
            self.streams[name] = SourceStream(sources[name], name, config.seed, self.budget)
        self.sequence_shares = self.declared if measure == "sequences" else self._shares_for_targets()
        """Of the sequences by source, from which the declared shares of the mixture's measure follow."""
        self._deal = Deal(self.sequence_shares, config.seed)

    def _shares_for_targets(self) -> dict[str, float]:
        """Shares of the sequences that give the declared shares of targets, judged by the first blocks of each source:
        a number that hangs on the source and the seed alone.
        """
        sequences = {}
        for name, stream in self.streams.items():
            stream.count(JUDGED_BLOCKS)
            last = min(JUDGED_BLOCKS, stream.num_blocks)
            packs, _, targets = stream.counts[:, last].tolist()
            if targets == 0:
                raise UserError(
                    f"source '{name}' has no token that is predicted, so no share of the target tokens can be given to "
                    "it: take it out of the mixture, or set data.mixture.measure=sequences"
                )
            sequences[name] = self.declared[name] * packs / targets
        total = sum(sequences.values())
        return {name: share / total for name, share in sequences.items()}

    @property
    def source_names(self) -> tuple[str, ...]:
        """In the order of the mixture; `Batch.source_ids` count in it."""
        return tuple(self.declared)

    def rows(self, step: int) -> list[Row]:
        """The global batch of `step`: `config.rows` rows, each within `seq_len` tokens and `max_images` images."""
        first = step * self.config.rows
        rows = []
        for number in range(first, first + self.config.rows):
            source, pack_number = self._deal.pack(number)
            rows.append(self.streams[source].pack(pack_number))
        return rows

    def realised(self, steps: int) -> dict[str, float]:
        """Share by source in the first `steps` steps, of what the mixture's weights measure."""
        amounts = self._deal.counts(steps * self.config.rows)
        if self.budget.counts_targets:
            amounts = {name: stream.targets(amounts[name]) for name, stream in self.streams.items()}
        return {name: amount / max(1, sum(amounts.values())) for name, amount in amounts.items()}

    def epochs(self, steps: int) -> dict[str, float]:
        """How often each source was gone through in the first `steps` steps."""
        counts = self._deal.counts(steps * self.config.rows)
        return {name: stream.epochs(counts[name]) for name, stream in self.streams.items()}

    def fill(self, steps: int) -> float:
        """Share of the positions of the first `steps` steps that are not padding."""
        counts = self._deal.counts(steps * self.config.rows)
        tokens = sum(stream.tokens(counts[name]) for name, stream in self.streams.items())
        return tokens / max(1, steps * self.config.rows * self.config.seq_len)

    def account(self, steps: int) -> dict[str, Any]:
        """What the first `steps` steps read, as JSON values: shares asked for and given, epochs."""
        return {
            "measure": self.config.mixture.measure,
            "declared": dict(self.declared),
            "realised": self.realised(steps),
            "sequence_shares": dict(self.sequence_shares),
            "source_documents": {name: stream.num_documents for name, stream in self.streams.items()},
            "epochs": self.epochs(steps),
        }

    def news(self) -> News:
        """What was counted since this was asked last, for `learn` of a copy of this plan in another process."""
        news = {}
        for name, stream in self.streams.items():
            first = self._told.get(name, 0)
            if first < stream.counts.shape[1] - 1:
                news[name] = (first, stream.counts[:, first:].copy())
                self._told[name] = stream.counts.shape[1] - 1
        return news

    def learn(self, news: News) -> None:
        """Takes over what a copy of this plan counted, so that what is saved and told needs no counting here."""
        for name, (first, counts) in news.items():
            self.streams[name].learn(first, counts)

    def outlook(self, steps: int) -> dict[str, Outlook]:
        """What a run of so many steps will read of each source, judged by the source's first blocks: quick for any."""
        sequences = self._deal.counts(steps * self.config.rows)
        result = {}
        for name, stream in self.streams.items():
            stream.count(JUDGED_BLOCKS)
            last = min(JUDGED_BLOCKS, stream.num_blocks)
            packs, tokens, _ = stream.counts[:, last].tolist()
            judged = min(last * BLOCK, stream.num_documents)
            result[name] = Outlook(
                documents=stream.num_documents,
                sequences=sequences[name],
                epochs=sequences[name] * judged / packs / stream.num_documents,
                fill=tokens / (packs * self.config.seq_len),
            )
        return result

    def save(self, folder: Path) -> None:
        """Writes plan.json (what was asked) and plan.npz (what was counted) to `folder`."""
        record = {
            "config": to_json(self.config),
            "num_image_tokens": self.num_image_tokens,
            "pairs": self.pairs,
            "bos": self.bos,
            "documents": {name: stream.num_documents for name, stream in self.streams.items()},
        }
        counts = io.BytesIO()
        np.savez(counts, allow_pickle=False, **{name: stream.counts for name, stream in self.streams.items()})
        write_atomically(folder / "plan.npz", counts.getvalue())
        write_atomically(folder / PLAN, (json.dumps(record, indent=2) + "\n").encode())

    def restore(self, folder: Path) -> None:
        """Takes over the counts that `save` wrote; UserError if a source has changed since."""
        record = json.loads((folder / PLAN).read_text())
        with np.load(folder / "plan.npz", allow_pickle=False) as counts:
            for name, stream in self.streams.items():
                if record["documents"][name] != stream.num_documents:
                    raise UserError(
                        f"source '{name}' has {stream.num_documents} documents where the plan in {folder} was made of "
                        f"{record['documents'][name]}: the data changed under the plan, start a new run"
                    )
                stream.restore(counts[name])
                self._told[name] = stream.counts.shape[1] - 1


def build_plan(
    config: DataConfig,
    sources: Mapping[str, Source],
    num_image_tokens: int,
    pairs: bool = False,
    bos: bool = False,
) -> Plan:
    """The plan of a run.

    Args:
        config: what to read.
        sources: every source of the mixture, by name; others are not looked at.
        num_image_tokens: positions an image takes: the connector's number, 0 where images stand beside the text.
        pairs: every image and the text after it is a segment of its own (contrastive training).
        bos: the tokenizer has a token with which documents begin.

    Raises:
        UserError: a source is missing or empty, a sequence has no room for a picture and a token of text, or pictures
            are to be cut where each is one half of a pair.
    """
    return Plan(config, sources, num_image_tokens, pairs, bos)


def load_plan(folder: Path, sources: Mapping[str, Source]) -> Plan:
    """The plan that `Plan.save` wrote to `folder`, over the same sources."""
    try:
        record = json.loads((folder / PLAN).read_text())
    except FileNotFoundError:
        raise UserError(f"{folder} has no {PLAN}: build a plan and save it there") from None
    config = from_json(DataConfig, record["config"], str(folder / PLAN))
    plan = build_plan(config, sources, record["num_image_tokens"], record["pairs"], record["bos"])
    plan.restore(folder)
    return plan


def _check_room(config: DataConfig, num_image_tokens: int, pairs: bool, bos: bool) -> None:
    most = config.sub_images.max_sub_images
    if pairs and config.mixture.measure == "target_tokens":
        raise UserError(
            "the mixture's weights are shares of target tokens, but training on pairs predicts none: "
            "set data.mixture.measure=sequences"
        )
    if pairs and most > 1:
        raise UserError(
            f"sub_images cuts a picture into {most}, but training on pairs compares whole pictures: "
            "leave data.sub_images at its default"
        )
    if most > config.max_images:
        raise UserError(
            f"max_images {config.max_images} has no room for a picture of {most} sub-images: make it at least {most}"
        )
    image = f"an image of {num_image_tokens}" if most == 1 else f"a picture of {most} x {num_image_tokens}"
    least = most * num_image_tokens + 1 + pairs + bos
    if config.seq_len < least:
        raise UserError(
            f"seq_len {config.seq_len} has no room for {image} tokens and its text: make it at least {least}"
        )
