"""What a person reads on the terminal: scores, recipes, mixtures, differences. Knows nothing of files or models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mm1.chain.recipe import RecipeConfig
from mm1.config import JSON, flatten
from mm1.data.plan import DataConfig, Outlook, Plan
from mm1.train import costs
from mm1.train.stage import StageConfig


def show(console: Console, *tables: Table) -> None:
    """Prints tables; where nobody looks, in a pipe or a file, as wide as they are, so that a row stays a line."""
    if not console.is_terminal:
        console = Console(file=console.file, width=10_000, highlight=False, markup=False)
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)


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


def describe(recipe: RecipeConfig, plans: Mapping[str, Plan]) -> dict[str, Any]:
    """A recipe as one JSON object: its configuration, and what its stages cost; that of pretraining on top.

    A stage with a plan also says how much it has and reads of each source.
    """
    stages = {name: _stage(recipe.stage(name), plans.get(name)) for name in recipe.stages}
    pretrain = stages["pretrain"]
    return {
        "name": recipe.name,
        "parameters": pretrain["parameters"],
        "flops_per_sequence": pretrain["flops_per_sequence"],
        "tokens_per_step": pretrain["tokens_per_step"],
        "config": flatten(recipe),
        "stages": stages,
    }


def _stage(stage: StageConfig, plan: Plan | None) -> dict[str, Any]:
    read = {} if plan is None else {name: asdict(one) for name, one in plan.outlook(stage.steps).items()}
    return {
        "steps": stage.steps,
        "tokens_per_step": costs.tokens_per_step(stage),
        "images_per_sequence": costs.images_per_sequence(stage),
        "parameters": costs.parameters(stage),
        "flops_per_sequence": costs.flops_per_sequence(stage),
        "mixture": stage.data.mixture.shares(),
        "mixture_measure": stage.data.mixture.measure,
        "sources": read,
    }


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


def tree(recipe: RecipeConfig, plans: Mapping[str, Plan]) -> Tree:
    """Each stage of a recipe with its parameters, its operations and its mixture; without a plan, its shares only."""
    root = Tree(Text(recipe.name, "bold"))
    for name in recipe.stages:
        stage = recipe.stage(name)
        about = f"  {stage.objective}, {stage.steps:,} steps of {costs.tokens_per_step(stage):,} tokens"
        branch = root.add(Text.assemble((name, "bold"), about))
        _add_costs(branch, stage)
        _add_mixture(branch, stage.data, stage.steps, plans.get(name))
    return root


def _add_costs(branch: Tree, stage: StageConfig) -> None:
    parameters, flops = costs.parameters(stage), costs.flops_per_sequence(stage)
    branch.add("parameters").add(_counts(parameters))
    if flops:
        images = costs.images_per_sequence(stage)
        full = f"training FLOPs of {stage.data.seq_len:,} positions in one document, {images} images"
        branch.add(full).add(_counts(flops))


def _counts(counts: Mapping[str, int]) -> Table:
    """Counts by part; a part that is not there is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for part, count in counts.items():
        if count:
            table.add_row(part, f"{count:,}", rounded(count), style="bold" if part == "total" else None)
    return table


def rounded(number: float) -> str:
    """Three digits and a unit: 2.85 B."""
    size = 0
    while number >= 999.5 and size < 6:
        number, size = number / 1000, size + 1
    return f"{number:.3g} {' KMBTPE'[size]}".strip()


def _add_mixture(branch: Tree, data: DataConfig, steps: int, plan: Plan | None) -> None:
    shares, measure = data.mixture.shares(), data.mixture.measure.replace("_", " ")
    read = {} if plan is None else plan.outlook(steps)
    title = f"mixture, by share of {measure}"
    if read:
        sequences = sum(one.sequences for one in read.values())
        fill = sum(one.fill * one.sequences for one in read.values()) / sequences
        title += f"; {sequences:,} sequences, {fill:.1%} full"
    mixture = branch.add(title)
    for group in data.mixture.groups:
        inside = [source.name for source in group.sources if source.name in shares]
        node = mixture.add(f"{group.name}  {sum(shares[name] for name in inside):.1%}")
        for name in inside:
            wanted = f", {shares[name] * steps * data.rows:,.0f} sequences" if measure == "sequences" else ""
            node.add(f"{name}  {shares[name]:.1%}" + (_read(read[name]) if read else wanted))


def _read(one: Outlook) -> str:
    return (
        f", {one.sequences:,} sequences, {one.fill:.1%} full; {one.documents:,} documents, read {one.epochs:.2g} times"
    )


def prepared(summary: Mapping[str, Any]) -> Table:
    """Sources down, what each holds across."""
    table = Table(title="Prepared", title_justify="left", box=None, pad_edge=False)
    table.add_column("source", no_wrap=True)
    for name in ("documents", "images", "tokens", "tokens a document"):
        table.add_column(name, justify="right")
    rows = list(summary["sources"].items())
    for name, counts in [*rows, ("in all", summary)] if len(rows) > 1 else rows:
        mean = counts["tokens"] / max(1, counts["documents"])
        table.add_row(name, *(f"{counts[key]:,}" for key in ("documents", "images", "tokens")), f"{mean:,.1f}")
    return table


def dropped(summary: Mapping[str, Any]) -> str:
    """A line a reason: what was lost, and where first, in columns as wide as they need (a pipe gets whole paths)."""
    rows = [
        (f"{summary[key][reason]:,}", what, reason, f"first {place}")
        for reason, place in summary["first_dropped"].items()
        for key, what in (("dropped", "documents"), ("dropped_images", "images of pages"))
        if reason in summary[key]
    ]
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = (f"{n:>{wide[0]}} {what:{wide[1]}}  {reason:{wide[2]}}  {place}" for n, what, reason, place in rows)
    return "\n".join(["Dropped", *lines])


def differences(pairs: Mapping[str, tuple[JSON, JSON]], a: str, b: str) -> str:
    """The differing leaves of two recipes in three columns as wide as they need, so that a pipe gets whole words."""
    if not pairs:
        return f"{a} and {b} do not differ"
    rows = [("key", a, b), *((key, _typed(left), _typed(right)) for key, (left, right) in pairs.items())]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{key:{first}}  {left:{second}}  {right}" for key, left, right in rows)
