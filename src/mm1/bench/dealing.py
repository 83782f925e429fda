"""`mm1 bench dealing`: how long ranks work and wait, beyond what documents need: with padding or without, rows dealt in
turn or by cost.

    recipe   ranks  rows at once       padded, in turn   padded, by cost   in turn   by cost
    mm1-3b      64             2                 1.209             1.120     1.210     1.017

Ranks wait for each other in every microbatch, so what counts is the dearest rank of each, summed over a step, over the
mean of what documents need. Operations are reckoned as MFU's are, over simulated documents; that they, and nothing
else, take time is an assumption. `mm1 bench scaling` measures what waiting is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import PositiveInt
from rich.table import Table

from mm1.bench.simulated import simulated_data, simulated_sources
from mm1.config import Config, UserError
from mm1.data.dealing import deal
from mm1.data.plan import build_plan
from mm1.models.counts import TRAINING_FACTOR, flops_forward
from mm1.models.mm1 import MM1Config
from mm1.recipes.catalog import load_recipe
from mm1.train.costs import row_cost
from mm1.train.stage import StageConfig

DOCUMENTS = 10**6


class DealingBenchConfig(Config):
    """Whose steps are dealt, and to whom."""

    recipes: tuple[str, ...] = ("mm1-3b", "mm1-30b")
    """Whose pretraining it is: its model, its rows and their limits, over simulated documents."""
    ranks: tuple[PositiveInt, ...] = (8, 64, 256)
    rows_at_once: tuple[PositiveInt, ...] = (1, 2)
    """Of a rank's microbatch; what does not divide the rows is left out."""
    repetitions: PositiveInt = 5
    """Steps that are dealt; means are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """The slowest rank's operations over the mean of what documents need."""

    recipe: str
    ranks: int
    rows_at_once: int
    padded_in_turn: float
    padded_by_cost: float
    in_turn: float
    by_cost: float


def bench_dealing(config: DealingBenchConfig, say: Callable[[str], None]) -> list[Dealt]:
    """Deals the same steps both ways.

    Raises:
        UserError: a recipe is not known, or none of the numbers divides its rows.
    """
    found = []
    for name in config.recipes:
        stage = load_recipe(name).stage("pretrain")
        total = stage.data.rows
        say(f"{config.repetitions} steps of {name}, {total} rows each")
        steps = _costs(stage, config.repetitions)
        cases = [(ranks, rows) for ranks in config.ranks for rows in config.rows_at_once if total % (ranks * rows) == 0]
        if not cases:
            raise UserError(f"{name} has steps of {total} rows, which no --ranks times --rows-at-once divides")
        found += [_dealt(name, ranks, rows, steps) for ranks, rows in cases]
    return found


def _costs(stage: StageConfig, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows,) operations of each row without padding and with it, a step after another."""
    assert isinstance(stage.model, MM1Config)
    tokens, own = stage.model.num_image_tokens, stage.data
    data = simulated_data(own.rows).replace(seq_len=own.seq_len, max_images=own.max_images)
    plan = build_plan(data, simulated_sources(DOCUMENTS), tokens)
    needed, padded = (row_cost(stage.replace(keep_padding=keeps)) for keeps in (False, True))
    layers = flops_forward(stage.model, tokens=own.seq_len, images=0, attended_pairs=0, targets=0)["total"]
    costs = []
    for step in range(steps):
        rows = plan.rows(step)
        without = np.array([needed.of(row, tokens) for row in rows])
        costs.append((without, np.array([TRAINING_FACTOR * layers + padded.of(row, tokens) for row in rows])))
    return costs


def _dealt(recipe: str, ranks: int, rows: int, steps: Sequence[tuple[np.ndarray, np.ndarray]]) -> Dealt:
    in_turn = deal(np.zeros(len(steps[0][0])), ranks, rows)
    of_steps = [
        [
            _slowest(costs, dealt, rows) / needed.sum()
            for costs in (padded, needed)
            for dealt in (in_turn, deal(costs, ranks, rows))
        ]
        for needed, padded in steps
    ]
    padded_in_turn, padded_by_cost, plain, by_cost = np.mean(of_steps, axis=0).tolist()
    return Dealt(
        recipe=recipe,
        ranks=ranks,
        rows_at_once=rows,
        padded_in_turn=padded_in_turn,
        padded_by_cost=padded_by_cost,
        in_turn=plain,
        by_cost=by_cost,
    )


def _slowest(costs: np.ndarray, dealt: np.ndarray, rows: int) -> float:
    """Operations of a step if all ranks had those of the dearest, microbatch by microbatch."""
    loads = costs[dealt].reshape(len(dealt), -1, rows).sum(axis=2)
    return float(loads.max(axis=0).sum() * len(dealt))


def table(measured: Sequence[Dealt]) -> Table:
    """A case a row."""
    title = "Operations of the slowest rank over what documents need"
    result = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("recipe", "ranks", "rows at once", "padded, in turn", "padded, by cost", "in turn", "by cost"):
        result.add_column(name, justify="left" if name == "recipe" else "right")
    for one in measured:
        shares = (one.padded_in_turn, one.padded_by_cost, one.in_turn, one.by_cost)
        result.add_row(one.recipe, str(one.ranks), str(one.rows_at_once), *(f"{share:.3f}" for share in shares))
    return result


def to_json(measured: Sequence[Dealt]) -> dict[str, Any]:
    """The same for scripts."""
    return {"bench": "dealing", "cases": [asdict(one) for one in measured]}
