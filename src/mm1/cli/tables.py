"""What a person reads on the terminal: scores, recipes, mixtures, differences. Knows nothing of files or models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mm1.chain.recipe import RecipeConfig
from mm1.config import JSON, flatten
from mm1.data.plan import DataConfig
from mm1.models.counts import parameters_by_part
from mm1.train.stage import StageConfig


def scores(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Tasks down, shots across; each cell a score with its 95 % interval."""
    shots = sorted({number for cells in table.values() for number in cells}, key=int)
    title = "Scores with 95 % intervals; blind: images replaced"
    result = Table(title=title, title_justify="left", box=None, pad_edge=False)
    result.add_column("task", no_wrap=True)
    for number in shots:
        result.add_column(f"{number} shots", justify="right")
    for name in ("blind", "chance", "n"):
        result.add_column(name, justify="right")
    for task, cells in table.items():
        last = cells[max(cells, key=int)]
        blind = f"{last['blind']:.2f}" if "blind" in last else ""
        row = [_cell(cells[number]) if number in cells else "" for number in shots]
        result.add_row(task, *row, blind, f"{last['chance']:.2f}", str(last["n"]))
    return result


def _cell(cell: Mapping[str, float]) -> str:
    return f"{cell['score']:.2f} ({cell['low']:.2f}–{cell['high']:.2f})"


def describe(recipe: RecipeConfig) -> dict[str, Any]:
    """A recipe as one JSON object: its configuration, and of each stage parameters by part, tokens a step, mixture."""
    return {
        "name": recipe.name,
        "config": flatten(recipe),
        "parameters": _parameters(recipe.pretrain),
        "stages": {name: _stage(recipe.stage(name)) for name in recipe.stages},
    }


def _stage(stage: StageConfig) -> dict[str, Any]:
    return {
        "steps": stage.steps,
        "tokens_per_step": stage.data.rows * stage.data.seq_len,
        "parameters": _parameters(stage),
        "mixture": stage.data.mixture.shares(),
    }


def _parameters(stage: StageConfig) -> dict[str, int]:
    """Counted on the meta device: nothing is allocated, however large the model."""
    with torch.device("meta"):
        return parameters_by_part(stage.build())


def leaves(recipe: RecipeConfig) -> list[str]:
    """The configuration as `key=value` lines: each of them is an override that can be typed after a recipe's name."""
    return [f"{key}={_typed(value)}" for key, value in flatten(recipe).items()]


def _typed(value: JSON) -> str:
    """`value` as one writes it in an override: JSON, and text as it is unless that would be read as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except json.JSONDecodeError:
            return value
    return json.dumps(value, separators=(",", ":"))


def tree(recipe: RecipeConfig) -> Tree:
    """Each stage of a recipe with its parameters and its mixture."""
    root = Tree(Text(recipe.name, "bold"))
    for name in recipe.stages:
        stage = recipe.stage(name)
        tokens = stage.data.rows * stage.data.seq_len
        about = f"  {stage.objective}, {stage.steps:,} steps of {tokens:,} tokens"
        branch = root.add(Text.assemble((name, "bold"), about))
        parts = _parameters(stage)
        node = branch.add(f"parameters  {parts.pop('total'):,}")
        for part, count in parts.items():
            if count:
                node.add(f"{part}  {count:,}")
        _add_mixture(branch, stage.data, stage.steps)
    return root


def _add_mixture(branch: Tree, data: DataConfig, steps: int) -> None:
    shares = data.mixture.shares()
    mixture = branch.add("mixture, by share of sequences")
    for group in data.mixture.groups:
        inside = [source for source in group.sources if source.name in shares]
        node = mixture.add(f"{group.name}  {sum(shares[source.name] for source in inside):.1%}")
        for source in inside:
            sequences = shares[source.name] * steps * data.rows
            node.add(f"{source.name}  {shares[source.name]:.1%}, {sequences:,.0f} sequences")


def differences(pairs: Mapping[str, tuple[JSON, JSON]], a: str, b: str) -> str:
    """The differing leaves of two recipes in three columns as wide as they need, so that a pipe gets whole words."""
    if not pairs:
        return f"{a} and {b} do not differ"
    rows = [("key", a, b), *((key, _typed(left), _typed(right)) for key, (left, right) in pairs.items())]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{key:{first}}  {left:{second}}  {right}" for key, left, right in rows)
