"""A recipe: everything a whole run is, from sources to evaluation, as one frozen value.

    prepare → encoder ─┐
        └───→ language ┴→ pretrain → sft
                              └──────┴→ eval → report

Recipes themselves are functions in `recipes/`. Knows nothing of which recipes exist.
"""

from __future__ import annotations

from pydantic import model_validator

from mm1.chain.prepare import PrepareConfig
from mm1.config import Config
from mm1.eval.naming import NamingTasksConfig
from mm1.eval.world import WorldTasksConfig
from mm1.train.stage import StageConfig

STAGES = ("encoder", "language", "pretrain", "sft")
"""The training stages, in order."""


class EvalConfig(Config):
    """What the pretrained and the fine-tuned model are asked."""

    world: WorldTasksConfig = WorldTasksConfig()
    naming: NamingTasksConfig = NamingTasksConfig()
    shots: tuple[int, ...] = (0, 4, 8)
    blind: bool = True
    """Also ask with every image replaced by another episode's."""
    seed: int = 0


class RecipeConfig(Config):
    """A whole run."""

    name: str
    seed: int = 0
    """Of initial weights and data order in every stage; the prepared data does not depend on it."""
    prepare: PrepareConfig
    encoder: StageConfig
    """Contrastive pretraining of the image encoder."""
    language: StageConfig
    """Text pretraining of the decoder."""
    pretrain: StageConfig
    """Encoder, connector and decoder on the mixture of interleaved pages, captions and text."""
    sft: StageConfig
    """Fine-tuning on instructions."""
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _check_seeds(self) -> RecipeConfig:
        for name in STAGES:
            stage: StageConfig = getattr(self, name)
            if stage.seed or stage.data.seed:
                raise ValueError(f"{name} has a seed of its own, which would be ignored: set the recipe's seed instead")
        return self

    def stage(self, name: str) -> StageConfig:
        """The config of a training stage, with the recipe's seed in it."""
        stage: StageConfig = getattr(self, name)
        return stage.replace(seed=self.seed, data=stage.data.replace(seed=self.seed))
