"""What is on record of a recipe. Run as a script it writes the golden files; after a wanted change, read the diff."""

import json
from pathlib import Path

from mm1.chain.recipe import STAGES, RecipeConfig
from mm1.config import flatten
from mm1.recipes.catalog import RECIPES, load_recipe
from mm1.train.optimizer import parameter_table

GOLDEN = Path(__file__).parent / "golden"


def golden_files(name: str, recipe: RecipeConfig) -> dict[str, str]:
    """File name -> content: the flattened config; of each stage every parameter, its shape, optimizer, decay, rate."""
    files = {f"{name}.json": json.dumps(flatten(recipe), indent=1) + "\n"}
    for stage in STAGES:
        config = recipe.stage(stage)
        rows = [
            f"{row.name} {tuple(row.shape)} {row.optimizer} decay {row.weight_decay} rate x{row.learning_rate_scale}\n"
            for row in parameter_table(config.build(), config.optimizer)
        ]
        files[f"{name}.{stage}.parameters.txt"] = "".join(rows)
    return files


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in RECIPES:
        for file, content in golden_files(name, load_recipe(name)).items():
            (GOLDEN / file).write_text(content)
