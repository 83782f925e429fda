"""A recipe: everything a whole run is, from sources to evaluation, as one frozen value.

    prepare → encoder ─┐
        └───→ language ┴→ pretrain → sft
                              └──────┴→ eval → report

Only `pretrain` is in every recipe: encoder and decoder may also come from checkpoints made elsewhere, by a path in
`init`. Recipes themselves are functions in `recipes/`. Knows nothing of which recipes exist.
"""

from __future__ import annotations

from pydantic import model_validator

from mm1.chain.prepare import PrepareConfig
from mm1.config import Config, Seed, UserError
from mm1.eval.naming import NamingTasksConfig
from mm1.eval.world import WorldTasksConfig
from mm1.train.stage import StageConfig

STAGES = ("encoder", "language", "pretrain", "sft")
"""The training stages that there can be, in order."""


class EvalConfig(Config):
    """What the pretrained and the fine-tuned model are asked."""

    world: WorldTasksConfig = WorldTasksConfig()
    naming: NamingTasksConfig = NamingTasksConfig()
    shots: tuple[int, ...] = (0, 4, 8)
    blind: bool = True
    """Also ask with every image replaced by another episode's."""
    seed: Seed = 0


class RecipeConfig(Config):
    """A whole run."""

    name: str
    seed: Seed = 0
    """Of initial weights and data order in every stage; the prepared data does not depend on it."""
    prepare: PrepareConfig
    encoder: StageConfig | None = None
    """Pretraining of the image encoder, by contrast with captions or by predicting pixels."""
    language: StageConfig | None = None
    """Text pretraining of the decoder."""
    pretrain: StageConfig
    """Encoder, connector and decoder on the mixture of interleaved pages, captions and text."""
    sft: StageConfig | None = None
    """Fine-tuning on instructions."""
    eval: EvalConfig | None = None

    @model_validator(mode="after")
    def _check_seeds(self) -> RecipeConfig:
        for name in self.stages:
            stage: StageConfig = getattr(self, name)
            if stage.seed or stage.data.seed:
                raise ValueError(f"{name} has a seed of its own, which would be ignored: set the recipe's seed instead")
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """The training stages of this recipe, in order."""
        return tuple(name for name in STAGES if getattr(self, name) is not None)

    def stage(self, name: str) -> StageConfig:
        """The config of a training stage, with the recipe's seed in it.

        Raises:
            UserError: the recipe has no such stage.
        """
        if name not in self.stages:
            raise UserError(f"recipe '{self.name}' has no stage '{name}': it has {', '.join(self.stages)}")
        stage: StageConfig = getattr(self, name)
        return stage.replace(seed=self.seed, data=stage.data.replace(seed=self.seed))
