"""`mm1 bench`: measurements, each beside what it is compared with; a table for people, JSON for scripts."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

from mm1.bench import data, dealing, figures, generate_figures, geometry_run, plan, scaling, step
from mm1.bench.generate import bench_generate
from mm1.bench.plan_curve import write_curve
from mm1.bench.train import TrainBenchConfig, bench_train
from mm1.cli.options import check_out
from mm1.config import from_json
from mm1.files import write_atomically

console = Console(highlight=False, soft_wrap=True, markup=False)

Shown: TypeAlias = tuple[list[Table], Sequence[str], dict[str, Any]]
"""Tables, the lines below them, and the same as JSON values."""


def bench(arguments: Namespace) -> None:
    """One measurement."""
    out: Path | None = arguments.out
    check_out(out)
    shown, lines, values = MEASUREMENTS[arguments.what](arguments)
    for table in shown:
        console.print(table)
    for line in lines:
        console.print(line)
    if out is not None:
        write_atomically(out, (json.dumps(values, indent=2) + "\n").encode())
        console.print(f"Figures: {out}")


def _train(arguments: Namespace) -> Shown:
    asked = {"repetitions": arguments.repetitions, "steps": arguments.steps, "device": arguments.device}
    measured = bench_train(from_json(TrainBenchConfig, asked, "mm1 bench train"), say=console.print)
    return [figures.table(measured)], figures.lines(measured), measured.to_json()


def _plan(arguments: Namespace) -> Shown:
    asked = {name: getattr(arguments, name) for name in ("repetitions", "counted", "processes")}
    measured = plan.bench_plan(from_json(plan.PlanBenchConfig, asked, "mm1 bench plan"), say=console.print)
    if arguments.curve:
        write_curve(measured, arguments.curve)
    return [plan.table(measured)], plan.lines(measured), plan.to_json(measured)


def _step(arguments: Namespace) -> Shown:
    asked = {"repetitions": arguments.repetitions, "shapes": _listed(arguments.shapes)}
    measured = step.bench_step(from_json(step.StepBenchConfig, asked, "mm1 bench step"), say=console.print)
    return [step.table(measured)], step.lines(measured), step.to_values(measured)


def _scaling(arguments: Namespace) -> Shown:
    asked = {name: getattr(arguments, name) for name in ("repetitions", "steps")}
    asked["processes"] = _listed(arguments.processes)
    measured = scaling.bench_scaling(from_json(scaling.ScalingBenchConfig, asked, "mm1 bench scaling"), console.print)
    return scaling.table(measured), scaling.lines(measured), scaling.to_json(measured)


def _dealing(arguments: Namespace) -> Shown:
    asked = {name: _listed(getattr(arguments, name)) for name in ("recipes", "ranks", "rows_at_once")}
    config = from_json(dealing.DealingBenchConfig, {**asked, "repetitions": arguments.repetitions}, "mm1 bench dealing")
    measured = dealing.bench_dealing(config, say=console.print)
    return [dealing.table(measured)], [], dealing.to_json(measured)


def _geometry(arguments: Namespace) -> Shown:
    asked = {name: getattr(arguments, name) for name in ("overrides", "steps", "device", "folder")}
    asked["names"] = _listed(arguments.names)
    config = from_json(geometry_run.GeometryBenchConfig, asked, "mm1 bench geometry")
    measured = geometry_run.bench_geometry(config, say=console.print)
    return [geometry_run.table(measured)], [], geometry_run.to_json(measured)


def _generate(arguments: Namespace) -> Shown:
    asked = {name: getattr(arguments, name) for name in ("model", "repetitions", "questions", "shots", "device")}
    config = from_json(generate_figures.GenerateBenchConfig, asked, "mm1 bench generate")
    measured = bench_generate(config, say=console.print)
    return [generate_figures.table(measured)], generate_figures.lines(measured), generate_figures.to_json(measured)


def _data(arguments: Namespace) -> Shown:
    asked = {"repetitions": arguments.repetitions, "documents": arguments.documents}
    measured = data.bench_data(from_json(data.DataBenchConfig, asked, "mm1 bench data"), say=console.print)
    return data.tables(measured), data.lines(measured), measured.to_json()


def _curate(arguments: Namespace) -> Shown:
    from mm1.bench import curate  # here, for its packages are an extra of their own

    asked = {"repetitions": arguments.repetitions, "pages": arguments.pages, "sources": arguments.sources}
    measured = curate.bench_curate(from_json(curate.CurateBenchConfig, asked, "mm1 bench curate"), say=console.print)
    return curate.tables(measured), curate.lines(measured), curate.to_json(measured)


def _listed(words: str) -> list[str]:
    return [word for word in words.split(",") if word]


MEASUREMENTS: dict[str, Callable[[Namespace], Shown]] = {
    "train": _train,
    "plan": _plan,
    "step": _step,
    "scaling": _scaling,
    "dealing": _dealing,
    "geometry": _geometry,
    "data": _data,
    "generate": _generate,
    "curate": _curate,
}
