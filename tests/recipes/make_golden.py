"""What is on record of a recipe. Run as a script it writes the golden files; after a wanted change, read the diff.

NAME.json                    the flattened config
NAME.STAGE.parameters.txt    of each parameter: name, shape, beginning, optimizer, weight decay, learning-rate scale
"""

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from mm1.chain.recipe import RecipeConfig
from mm1.config import flatten
from mm1.models.initialization import beginning
from mm1.recipes.catalog import RECIPES, load_recipe
from mm1.train.optimizer import parameter_table
from mm1.train.stage import StageConfig

GOLDEN = Path(__file__).parent / "golden"


def golden_files(name: str, recipe: RecipeConfig) -> dict[str, str]:
    """File name -> content."""
    files = {f"{name}.json": json.dumps(flatten(recipe), indent=1) + "\n"}
    for stage in recipe.stages:
        rows = collapsed(_rows(recipe.stage(stage)))
        files[f"{name}.{stage}.parameters.txt"] = "".join(f"{row}\n" for row in rows)
    return files


def _rows(stage: StageConfig) -> Iterable[tuple[str, str]]:
    """Name and the rest of a line, of each parameter; built without memory."""
    model = stage.structure()
    parameters = dict(model.named_parameters())
    for row in parameter_table(model, stage.optimizer):
        shape = "x".join(map(str, row.shape))
        rate = f"{row.optimizer} decay {row.weight_decay:g} rate x{row.learning_rate_scale:.4g}"
        yield row.name, f"{shape:16} {beginning(parameters[row.name])!s:24} {rate}"


def collapsed(rows: Iterable[tuple[str, str]]) -> list[str]:
    """One line for the like parameters of all blocks: "blocks.0-25." with steps of 1, "blocks.1-25:2." with others."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for name, rest in rows:
        block = re.search(r"\.blocks\.(\d+)\.", name)
        pattern = name if block is None else f"{name[: block.start(1)]}#{name[block.end(1) :]}"
        numbers.setdefault((pattern, rest), []).extend([] if block is None else [int(block[1])])
    return [f"{pattern.replace('#', _run(found)):48} {rest}" for (pattern, rest), found in numbers.items()]


def _run(numbers: list[int]) -> str:
    """Numbers in equal steps in short, others one by one."""
    steps = {b - a for a, b in pairwise(numbers)}
    if len(steps) != 1:
        return ",".join(map(str, numbers))
    (step,) = steps
    return f"{numbers[0]}-{numbers[-1]}" + (f":{step}" if step != 1 else "")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    for name in RECIPES:
        for file, content in golden_files(name, load_recipe(name)).items():
            (GOLDEN / file).write_text(content)
