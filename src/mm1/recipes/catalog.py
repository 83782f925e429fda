"""The recipes by name, and recipes from a user's own file.

load_recipe("tiny")             load_recipe("my_run.py:pretrain")
"""

from __future__ import annotations

import difflib
import runpy
import traceback
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from mm1.chain.recipe import RecipeConfig
from mm1.config import ConfigError, UserError, describe
from mm1.recipes import paper
from mm1.recipes.tiny import tiny, tiny_aim, tiny_avgpool, tiny_c_abstractor, tiny_moe

RECIPES: dict[str, Callable[[], RecipeConfig]] = {
    "tiny": tiny,
    "tiny-avgpool": tiny_avgpool,
    "tiny-c-abstractor": tiny_c_abstractor,
    "tiny-aim": tiny_aim,
    "tiny-moe": tiny_moe,
    "mm1-3b": paper.mm1_3b,
    "mm1-7b": paper.mm1_7b,
    "mm1-30b": paper.mm1_30b,
    "mm1-3b-moe": paper.mm1_3b_moe,
    "mm1-7b-moe": paper.mm1_7b_moe,
    "mm1-ablation": paper.mm1_ablation,
    "mm1-law-9m": paper.mm1_law_9m,
    "mm1-law-85m": paper.mm1_law_85m,
    "mm1-law-302m": paper.mm1_law_302m,
    "mm1-law-1.2b": paper.mm1_law_1_2b,
}


def load_recipe(name: str) -> RecipeConfig:
    """The recipe of that name, or what `FILE.py:FUNCTION` returns.

    Raises:
        UserError: no such recipe, file or function, or the function returns something else.
        ConfigError: a config in the file has an unknown key or an ill-typed value.
    """
    path, colon, function = name.partition(":")
    if path.endswith(".py"):
        return _from_file(Path(path), function if colon else "recipe")
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(RECIPES)}"
        raise UserError(f"no recipe is named '{name}': {hint} (or give FILE.py:FUNCTION)")
    return RECIPES[name]()


def _from_file(path: Path, function: str) -> RecipeConfig:
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a Python file with a function '{function}'")
    try:
        found = runpy.run_path(str(path)).get(function)
        if not callable(found):
            raise UserError(f"{path} defines no function '{function}': name one that returns a RecipeConfig")
        recipe = found()
    except ValidationError as error:
        raise ConfigError(f"{path}: {error.title}: {describe(error)}") from None
    except UserError:
        raise
    except Exception as error:  # whatever a user's own program does
        said = " ".join(str(error).split())
        raise UserError(
            f"{path}{_line_of(path, error)} ends in {type(error).__name__} ({said}): mend it (--debug shows where)"
        ) from error
    if not isinstance(recipe, RecipeConfig):
        raise UserError(f"{path}:{function} returned a {type(recipe).__name__}: it must return a RecipeConfig")
    return recipe


def _line_of(path: Path, error: Exception) -> str:
    """Where in the file an error was met: ":7", or nothing where it was not in it."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""
