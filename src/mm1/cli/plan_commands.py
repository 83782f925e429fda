"""`mm1 plan`: what a stage of a recipe takes on so many devices, and how to lay it out."""

from __future__ import annotations

import json
from argparse import Namespace

from rich.console import Console

from mm1.cli import plan_tables
from mm1.config import UserError, override
from mm1.recipes.catalog import load_recipe
from mm1.train.planning.cpu import make_cpu_plan
from mm1.train.planning.hardware import CPU
from mm1.train.planning.plan import Plan
from mm1.train.planning.planner import make_plan

console = Console(highlight=False, soft_wrap=True, markup=False)


def plan(arguments: Namespace) -> None:
    """One plan, for people or as JSON."""
    found = _planned(arguments)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
        return
    plan_tables.show(console, found, f"{arguments.recipe}, {arguments.stage}", arguments.stage)


def _planned(arguments: Namespace) -> Plan:
    stage = override(load_recipe(arguments.recipe), arguments.overrides).stage(arguments.stage)
    if arguments.mfu is not None and not 0 < arguments.mfu <= 1:
        raise UserError(f"--mfu is {arguments.mfu}: give a share of the peak, as 0.4")
    if arguments.gpu != CPU:
        return make_plan(stage, arguments.gpus, arguments.gpu, mfu=arguments.mfu)
    if arguments.gpus != 1:
        raise UserError(f"--gpu cpu plans one process on this machine, but --gpus is {arguments.gpus}: give 1")
    if arguments.mfu is not None:
        raise UserError("--gpu cpu measures this machine, so --mfu has no meaning: leave it out")
    return make_cpu_plan(stage)
