"""The plans of a recipe's stages, before any of them is run.

    prepared_plans(tiny(), Path("runs/tiny"))["pretrain"].outlook(1600)

Knows nothing of how a plan is shown.
"""

from __future__ import annotations

from pathlib import Path

from mm1.chain.prepare import TOKENIZER, open_sources
from mm1.chain.recipe import RecipeConfig
from mm1.chain.run import prepare_step
from mm1.data.plan import Plan
from mm1.data.tokenizer import Tokenizer
from mm1.train.run import build_loader


def prepared_plans(recipe: RecipeConfig, store: Path) -> dict[str, Plan]:
    """The plan of each stage over the recipe's sources as they are prepared in `store`; none where they are not.

    Raises:
        UserError: a source that is to be linked, or its tokenizer, is not there.
    """
    prepared = prepare_step(recipe, say=lambda line: None).folder(store)
    if not prepared.exists():
        return {}
    plans = {}
    for name in recipe.stages:
        config = recipe.stage(name)
        sources = open_sources(prepared, list(config.data.mixture.shares()))
        plans[name] = build_loader(config, sources, Tokenizer(prepared / TOKENIZER)).plan
    return plans
