"""What one training stage is, as a value.

    StageConfig(model=MM1Config(...), data=DataConfig(...), steps=690, init={"image_encoder": "clip"})

Knows nothing of recipes, nor where sources and initial weights come from.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import nn

from mm1.config import Config, Count, Seed, UserError
from mm1.data.plan import DataConfig
from mm1.models.aim import AIM, AIMConfig
from mm1.models.clip import CLIP, CLIPConfig
from mm1.models.initialization import beginnings, fill, key_of
from mm1.models.mm1 import MM1, MM1Config
from mm1.train.ema import EMAConfig
from mm1.train.layout import ParallelConfig, Precision
from mm1.train.objectives import LossConfig
from mm1.train.optimizer import OptimizerConfig
from mm1.train.schedule import ScheduleConfig

TRAINS = {"next_token": "mm1", "contrastive": "clip", "autoregressive_pixels": "aim"}
"""The kind of model that each objective is for."""


class StageConfig(Config):
    """Everything that one training stage depends on, besides its data and initial weights."""

    model: Annotated[MM1Config | CLIPConfig | AIMConfig, Field(discriminator="kind")]
    objective: Literal["next_token", "contrastive", "autoregressive_pixels"] = "next_token"
    loss: LossConfig = LossConfig()
    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EMAConfig | None = None
    """A moving average of the weights, kept beside them and written in their place; None keeps none."""
    schedule: ScheduleConfig = ScheduleConfig()
    steps: Count
    microbatch_rows: Count | None = None
    """Rows that a rank handles at once; the rest of its share of `data.rows` is accumulated. None: all at once."""
    keep_padding: bool = False
    """Whether ranks are dealt the plan's rows, which a decoder computes with their padding. Else they are dealt
    documents, and a microbatch is one row as long as what stands in it. Kept where sparse layers have a capacity,
    which is a row's, and where the objective needs the rows."""
    max_grad_norm: PositiveFloat = 1.0
    precision: Precision = "auto"
    parallel: ParallelConfig = ParallelConfig()
    seed: Seed = 0
    """Of the initial weights; the order of the data has its own."""
    log_every: Count = 10
    checkpoint_every: Count = 100
    checkpoints_kept: Count = 2
    """The newest of these stay."""
    checkpoints_kept_every: Count | None = None
    """Checkpoints of steps that this divides stay for good; None: of none. A multiple of checkpoint_every."""
    num_workers: NonNegativeInt = 0
    """Processes a rank that prepare batches; the batches are the same for any number."""
    max_skipped_steps: NonNegativeInt = 20
    """Steps with gradients that are not finite, past which the run stops."""
    init: dict[str, str] = Field(default_factory=dict)
    """Whose weights this stage begins with, by name prefix: {"image_encoder": "encoder", "decoder": "checkpoints/3b"};
    the prefix "" is the whole model. Each is an earlier stage or the path of a checkpoint's folder; whoever runs the
    stages gives their files to `run_stage`."""

    def build(self) -> nn.Module:
        """The whole model on the CPU, with its initial weights: those that any number of ranks begins with."""
        model = self.structure()
        begins = beginnings(model)
        model.to_empty(device="cpu")
        for name, parameter in model.named_parameters():
            fill(parameter, begins[name], key_of(self.seed, name))
        return model

    def structure(self) -> nn.Module:
        """The model without memory, on the meta device; `initial.py` gives a rank what is its own."""
        with torch.device("meta"):
            match self.model:
                case MM1Config():
                    return MM1(self.model)
                case CLIPConfig():
                    return CLIP(self.model)
                case AIMConfig():
                    return AIM(self.model)

    def rows_at_once(self, ranks: int) -> int:
        """Rows of a microbatch.

        Raises:
            UserError: the rows of the global batch do not divide among ranks and microbatches, or a contrastive
                stage would accumulate.
        """
        total = self.data.rows
        if total % ranks:
            raise UserError(f"data.rows is {total}, which {ranks} ranks cannot share equally: make it a multiple")
        each = total // ranks
        rows = self.microbatch_rows or each
        if each % rows:
            raise UserError(
                f"each of {ranks} ranks has {each} of the {total} data.rows, which microbatch_rows={rows} does not "
                "divide: choose a divisor"
            )
        if self.objective == "contrastive" and rows != each:
            raise UserError(
                f"a contrastive stage sees all pairs of a batch at once, but microbatch_rows={rows} would cut the "
                f"{each} rows of a rank in {each // rows}: leave microbatch_rows out, or take fewer data.rows"
            )
        return rows

    def microbatches(self, ranks: int) -> int:
        """Of a rank in a step. Raises as `rows_at_once`."""
        return self.data.rows // ranks // self.rows_at_once(ranks)

    @property
    def drops_padding(self) -> bool:
        """Whether documents are dealt instead of rows, and padding is not computed."""
        if self.keep_padding or not isinstance(self.model, MM1Config):
            return False
        return self.model.decoder.moe is None or self.model.decoder.moe.capacity_factor is None

    def check_layout(self, ranks: int) -> None:
        """That `parallel` has a place for each of `ranks` processes and for this model's experts.

        Raises:
            UserError: it has not.
        """
        self.parallel.check(ranks, self.model.decoder if isinstance(self.model, MM1Config) else None)

    def check_parts(self, vocab_size: int) -> None:
        """That model, objective, data and tokenizer fit each other.

        Raises:
            UserError: they do not; both values are named.
        """
        if self.model.kind != (right := TRAINS[self.objective]):
            raise UserError(f"objective={self.objective} trains model.kind={right}, not {self.model.kind}: change one")
        if (every := self.checkpoints_kept_every) is not None and every % self.checkpoint_every:
            raise UserError(
                f"checkpoints_kept_every is {every}, and checkpoint_every={self.checkpoint_every} does not divide it: "
                "make it a multiple, or hardly any checkpoint would be kept"
            )
        if self.objective != "next_token" and self.loss != LossConfig():
            raise UserError(f"objective={self.objective} has no auxiliary losses to weigh: leave loss as it is")
        if self.objective != "next_token" and (most := self.data.sub_images.max_sub_images) > 1:
            raise UserError(
                f"objective={self.objective} learns from whole pictures, but data.sub_images makes up to {most} images "
                "of each: leave it at its default"
            )
        self._check_vocabulary(vocab_size)
        if isinstance(self.model, MM1Config) and (moe := self.model.decoder.moe) and moe.capacity_factor is not None:
            moe.slots(self.data.seq_len)
        encoder = self.model.image_encoder
        if encoder is not None and encoder.image_size != self.data.image_size:
            raise UserError(
                f"data.image_size is {self.data.image_size}, but the image encoder's is {encoder.image_size}: "
                "make them equal"
            )

    def _check_vocabulary(self, vocab_size: int) -> None:
        match self.model:
            case MM1Config():
                own = self.model.decoder.vocab_size
            case CLIPConfig():
                own = self.model.text_tower.vocab_size
            case AIMConfig():  # reads no text
                return
        if own < vocab_size:
            raise UserError(
                f"the tokenizer has {vocab_size} ids, but the model's vocab_size is {own}: "
                f"set vocab_size to {vocab_size} or more"
            )
