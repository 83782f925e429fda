"""Writes the golden files anew; run it after a wanted change of a recipe and read the diff."""

import json
from pathlib import Path

from mm1.chain.recipe import STAGES
from mm1.config import flatten
from mm1.recipes.catalog import RECIPES, load_recipe
from mm1.train.optimizer import parameter_table

if __name__ == "__main__":
    golden = Path(__file__).parent / "golden"
    golden.mkdir(exist_ok=True)
    for name in RECIPES:
        recipe = load_recipe(name)
        (golden / f"{name}.json").write_text(json.dumps(flatten(recipe), indent=1) + "\n")
        for stage in STAGES:
            config = recipe.stage(stage)
            rows = [
                f"{row.name} {tuple(row.shape)} {row.optimizer} decay {row.weight_decay} rate x{row.learning_rate_scale}"
                for row in parameter_table(config.build(), config.optimizer)
            ]
            (golden / f"{name}.{stage}.parameters.txt").write_text("\n".join(rows) + "\n")
