"""`mm1 bench dealing`: how long ranks would wait for the one with most work, rows dealt in turn and dealt by cost.

    recipe   ranks   rows at once      in turn   by cost
    mm1-3b      64              2        1.099     1.025        the slowest rank's operations over the mean

Ranks wait for each other in every microbatch, so what counts is the dearest rank of each, summed over a step.
Operations are reckoned as MFU's are, over simulated documents, with the padding that the decoder computes; that they,
and nothing else, take time is an assumption. `mm1 bench scaling` measures what waiting is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
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
    """The slowest rank's operations over the mean rank's."""

    recipe: str
    ranks: int
    rows_at_once: int
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
        for ranks, rows in cases:
            in_turn = mean(_slowest(costs, deal(np.zeros(total), ranks, rows), rows) for costs in steps)
            by_cost = mean(_slowest(costs, deal(costs, ranks, rows), rows) for costs in steps)
            found.append(Dealt(recipe=name, ranks=ranks, rows_at_once=rows, in_turn=in_turn, by_cost=by_cost))
    return found


def _costs(stage: StageConfig, steps: int) -> list[np.ndarray]:
    """(rows,) operations of each row, a step after another."""
    assert isinstance(stage.model, MM1Config)
    tokens, own = stage.model.num_image_tokens, stage.data
    data = simulated_data(own.rows).replace(seq_len=own.seq_len, max_images=own.max_images)
    plan = build_plan(data, simulated_sources(DOCUMENTS), tokens)
    cost = row_cost(stage)
    layers = flops_forward(stage.model, tokens=own.seq_len, images=0, attended_pairs=0, targets=0)["total"]
    alike = TRAINING_FACTOR * layers
    return [np.array([alike + cost.of(row, tokens) for row in plan.rows(step)]) for step in range(steps)]


def _slowest(costs: np.ndarray, dealt: np.ndarray, rows: int) -> float:
    """The dearest rank of each microbatch over the mean rank."""
    loads = costs[dealt].reshape(len(dealt), -1, rows).sum(axis=2)
    return float(loads.max(axis=0).sum() / loads.mean(axis=0).sum())


def table(measured: Sequence[Dealt]) -> Table:
    """A case a row."""
    result = Table(title="Operations of the slowest rank over the mean", title_justify="left", box=None, pad_edge=False)
    for name in ("recipe", "ranks", "rows at once", "in turn", "by cost"):
        result.add_column(name, justify="left" if name == "recipe" else "right")
    for one in measured:
        numbers = (one.ranks, one.rows_at_once, f"{one.in_turn:.3f}", f"{one.by_cost:.3f}")
        result.add_row(one.recipe, *map(str, numbers))
    return result


def to_json(measured: Sequence[Dealt]) -> dict[str, Any]:
    """The same for scripts."""
    return {"bench": "dealing", "cases": [asdict(one) for one in measured]}
