"""What is typed after `mm1 plan`."""

from __future__ import annotations

import argparse


def add_plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mm1 plan RECIPE --gpus N`."""
    plan = commands.add_parser("plan", help="memory, days, traffic and a layout of a stage, before GPUs are rented")
    plan.add_argument("recipe", help="a recipe's name, or FILE.py:FUNCTION")
    plan.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="changes to the recipe; any of STAGE.parallel.* fixes the layout, which is else searched",
    )
    plan.add_argument("--gpus", type=int, required=True, metavar="N", help="how many devices")
    plan.add_argument("--gpu", default="h100", help="a100, h100 (the default), h200, b200; or cpu: this one, measured")
    plan.add_argument("--stage", default="pretrain", help="language, pretrain (the default) or sft")
    plan.add_argument("--mfu", type=float, metavar="SHARE", help="of the peak, in place of what is assumed")
    plan.add_argument("--json", action="store_true", help="the same as one JSON object")
