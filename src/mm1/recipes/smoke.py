"""A tiny recipe shrunk to seconds, for tests and for a first look at whether everything is in place.

Models keep their size, and sources of files and of shards theirs. The result learns nothing: every stage runs a
few steps on a few documents, and evaluation asks a handful of questions.
"""

from __future__ import annotations

from mm1.chain.prepare import ShardsConfig
from mm1.chain.recipe import RecipeConfig
from mm1.config import Config
from mm1.data.formats.files import FilesConfig

_DOCUMENTS = 60
_STEPS = 6


def smoke(recipe: RecipeConfig) -> RecipeConfig:
    """`recipe` with few documents, steps and questions; every source, stage and task is still there."""
    sources = tuple(
        source
        if isinstance(source, ShardsConfig | FilesConfig)
        else source.replace(num_documents=min(source.num_documents or _DOCUMENTS, _DOCUMENTS))
        for source in recipe.prepare.sources
    )
    prepare = recipe.prepare.replace(sources=sources, num_processes=1, tokenizer_documents=_DOCUMENTS)
    changed: dict[str, Config] = {}
    for name in recipe.stages:
        stage = getattr(recipe, name)
        changed[name] = stage.replace(
            steps=_STEPS,
            data=stage.data.replace(rows=2),
            schedule=stage.schedule.replace(warmup_steps=2),
            log_every=2,
            checkpoint_every=2,
        )
    if recipe.eval is not None:
        changed["eval"] = recipe.eval.replace(
            world=recipe.eval.world.replace(num_episodes=16), naming=recipe.eval.naming.replace(num_episodes=8)
        )
    return recipe.replace(name=f"{recipe.name}-smoke", prepare=prepare, **changed)
