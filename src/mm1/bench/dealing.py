"""`mm1 bench dealing`: how much ranks compute and wait beyond what documents need, however a step is dealt to them.

    recipe   ranks  rows at once    rows in turn    rows by cost    documents
    mm1-3b      64             2           1.212           1.128        1.003

Ranks wait for each other in every microbatch, so what counts is the dearest rank of each, summed over a step, over the
mean of what documents need; rows are computed with their padding. Operations are reckoned as MFU's are, over simulated
documents; that they, and nothing else, take time is an assumption, and lengths are not rounded up. `mm1 bench scaling`
measures what waiting is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import PositiveInt
from rich.table import Table

from mm1.bench.simulated import simulated_data, simulated_sources
from mm1.config import Config, UserError
from mm1.data.dealing import Cost, Dealing
from mm1.data.plan import Plan, build_plan
from mm1.models.counts import TRAINING_FACTOR, flops_forward
from mm1.models.mm1 import MM1Config
from mm1.recipes.catalog import load_recipe
from mm1.train.costs import document_cost
from mm1.train.stage import StageConfig

DOCUMENTS = 10**6


class DealingBenchConfig(Config):
    """Whose steps are dealt, and to whom."""

    recipes: tuple[str, ...] = ("mm1-3b", "mm1-30b")
    """Whose pretraining it is: its model, its rows and their limits, over simulated documents."""
    ranks: tuple[PositiveInt, ...] = (8, 64, 256, 512)
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
    rows_in_turn: float
    rows_by_cost: float
    documents: float


def bench_dealing(config: DealingBenchConfig, say: Callable[[str], None]) -> list[Dealt]:
    """Deals the same steps in each way.

    Raises:
        UserError: a recipe is not known, or none of the numbers divides its rows.
    """
    found = []
    for name in config.recipes:
        stage = load_recipe(name).stage("pretrain")
        total = stage.data.rows
        say(f"{config.repetitions} steps of {name}, {total} rows each")
        cases = [(ranks, rows) for ranks in config.ranks for rows in config.rows_at_once if total % (ranks * rows) == 0]
        if not cases:
            raise UserError(f"{name} has steps of {total} rows, which no --ranks times --rows-at-once divides")
        found += [_dealt(name, stage, ranks, rows, config.repetitions) for ranks, rows in cases]
    return found


def _dealt(recipe: str, stage: StageConfig, ranks: int, rows: int, steps: int) -> Dealt:
    assert isinstance(stage.model, MM1Config)
    needed, padded = (document_cost(stage.replace(keep_padding=keeps)) for keeps in (False, True))
    layers = flops_forward(stage.model, tokens=stage.data.seq_len, images=0, attended_pairs=0, targets=0)["total"]
    plan = _plan(stage)
    by_rows = Dealing(microbatch_rows=rows)
    needs = sum(_loads(plan, step, by_rows, needed, ranks).mean(axis=0).sum() for step in range(steps))

    def over(dealing: Dealing, cost: Cost, of_row: int) -> float:
        """What the dearest rank computes, microbatch by microbatch, over what a rank needs."""
        loads = [_loads(plan, step, dealing, cost, ranks) + of_row for step in range(steps)]
        slowest = sum(
            of_step.reshape(ranks, -1, rows if of_row else 1).sum(axis=2).max(axis=0).sum() for of_step in loads
        )
        return float(slowest / needs)

    return Dealt(
        recipe=recipe,
        ranks=ranks,
        rows_at_once=rows,
        rows_in_turn=over(by_rows, padded, TRAINING_FACTOR * layers),
        rows_by_cost=over(replace(by_rows, cost=padded), padded, TRAINING_FACTOR * layers),
        documents=over(replace(by_rows, cost=needed, by_document=True), needed, 0),
    )


def _plan(stage: StageConfig) -> Plan:
    """Of simulated documents, within the stage's limits."""
    assert isinstance(stage.model, MM1Config)
    data = simulated_data(stage.data.rows).replace(seq_len=stage.data.seq_len, max_images=stage.data.max_images)
    return build_plan(data, simulated_sources(DOCUMENTS), stage.model.num_image_tokens)


def _loads(plan: Plan, step: int, dealing: Dealing, cost: Cost, ranks: int) -> np.ndarray:
    """(ranks, rows of a rank) operations, but for what rows have in common."""
    rows = plan.rows(step)
    costs = [[cost.of(unit, plan.num_image_tokens) for unit in row] for row in rows]
    dealt = dealing.places(rows, ranks, plan.budget)
    return np.array([[sum(costs[row][number] for row, number in places) for places in own] for own in dealt])


def table(measured: Sequence[Dealt]) -> Table:
    """A case a row."""
    title = "Operations of the slowest rank over what documents need"
    result = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("recipe", "ranks", "rows at once", "rows in turn", "rows by cost", "documents"):
        result.add_column(name, justify="left" if name == "recipe" else "right")
    for one in measured:
        shares = (one.rows_in_turn, one.rows_by_cost, one.documents)
        result.add_row(one.recipe, str(one.ranks), str(one.rows_at_once), *(f"{share:.3f}" for share in shares))
    return result


def to_json(measured: Sequence[Dealt]) -> dict[str, Any]:
    """The same for scripts."""
    return {"bench": "dealing", "cases": [asdict(one) for one in measured]}
