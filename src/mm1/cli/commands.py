"""The commands, one function each: from parsed arguments to calls, from results to what is printed."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from mm1.ablations.study import run_study
from mm1.chain.finished import checkpoint_folder
from mm1.chain.plans import prepared_plans
from mm1.chain.prepare import PrepareConfig, prepare_folder
from mm1.chain.recipe import RecipeConfig
from mm1.chain.report import write_report
from mm1.chain.run import run_recipe, train_stage
from mm1.cli import tables
from mm1.cli.loading import load
from mm1.cli.options import from_options
from mm1.cli.progress import EvalProgress, PrepareProgress
from mm1.cli.talk import talk
from mm1.config import UserError, load_json, override
from mm1.config import diff as config_diff
from mm1.data.formats.files import sources_of
from mm1.data.plan import Plan
from mm1.distributed.mesh import joined
from mm1.recipes.catalog import load_recipe
from mm1.recipes.smoke import smoke
from mm1.recipes.studies import load_study
from mm1.train.watch import Watch

console = Console(highlight=False, soft_wrap=True, markup=False)
say = partial(print, flush=True)
"""For what training says: under a bar that a stage shows, `print` writes above it, and another console into it."""


def _resolve(arguments: Namespace) -> RecipeConfig:
    recipe = load_recipe(arguments.recipe)
    recipe = smoke(recipe) if getattr(arguments, "smoke", False) else recipe
    return override(recipe, arguments.overrides)


def _out(arguments: Namespace, recipe: RecipeConfig) -> Path:
    out: Path | None = arguments.out
    return out if out is not None else Path("runs") / recipe.name


def _finished(folder: Path) -> RecipeConfig:
    """The recipe of a run folder."""
    if not (folder / "recipe.json").exists():
        raise UserError(f"{folder} is not a run folder (it has no recipe.json): give one that `mm1 run` made")
    return load_json(RecipeConfig, folder / "recipe.json")


def run(arguments: Namespace) -> None:
    """All stages, then the table of scores and where the report is."""
    recipe = _resolve(arguments)
    folder = _out(arguments, recipe)
    with EvalProgress(console) as progress:
        report = run_recipe(recipe, folder, say=say, progress=progress, watch=Watch(track=arguments.track))
    summary = json.loads((folder / "summary.json").read_text())
    if summary["eval"]:
        tables.show(console, tables.scores(summary["eval"]))
    console.print(f"{summary['seconds']:.0f} s in all. Report: {report}")


def train(arguments: Namespace) -> None:
    """One training stage, on the ranks that the launcher started; the first one speaks."""
    with joined() as world, world.telling_once():
        recipe = _resolve(arguments)
        recipe.stage(arguments.stage)  # is one of the recipe's, or said not to be
        watch = Watch(profile=arguments.profile, track=arguments.track)
        outcome = train_stage(recipe, arguments.stage, _out(arguments, recipe), world, say=say, watch=watch)
        if world.is_first:
            state = "finished before, skipped" if outcome.skipped else "finished"
            console.print(f"{arguments.stage} {state} → {outcome.folder}")


def prepare(arguments: Namespace) -> None:
    """Shards of what people have, then what came of it."""
    asked = {
        "sources": tuple(sources_of(arguments.sources, arguments.format, arguments.images, arguments.text)),
        "tokenizer": arguments.tokenizer,
        "vocab_size": arguments.vocab_size,
        "tokenizer_documents": arguments.tokenizer_documents,
        "num_processes": arguments.processes,
    }
    config = from_options(PrepareConfig, asked, {"num_processes": "--processes"})
    with PrepareProgress(console) as progress:
        summary = prepare_folder(config, arguments.out, console.print, progress)
    console.print(tables.prepared(summary))
    if summary["first_dropped"]:
        console.print(tables.dropped(summary))
    console.print(f"Shards: {arguments.out / 'shards'}, figures: {arguments.out / 'summary.json'}")


def show(arguments: Namespace) -> None:
    """What a recipe is."""
    recipe = _resolve(arguments)
    plans, missing = _plans(recipe, arguments.run or Path("runs") / recipe.name)
    if arguments.json:
        print(json.dumps(tables.describe(recipe, plans), indent=2))
        return
    for leaf in tables.leaves(recipe):
        console.print(leaf)
    console.print(tables.tree(recipe, plans))
    if missing:
        console.print(f"Of mixtures, shares only: {missing}")


def _plans(recipe: RecipeConfig, folder: Path) -> tuple[dict[str, Plan], str]:
    """The stages' plans over what is prepared in `folder`; and why there are none."""
    try:
        plans = prepared_plans(recipe, folder)
    except UserError as error:
        return {}, str(error)
    return plans, "" if plans else f"sizes, epochs and fill are known once the sources are prepared in {folder}"


def diff(arguments: Namespace) -> None:
    """How two recipes differ."""
    pairs = config_diff(load_recipe(arguments.a), load_recipe(arguments.b))
    pairs.pop("name", None)  # what was asked for
    console.print(tables.differences(pairs, arguments.a, arguments.b))


def chat(arguments: Namespace) -> None:
    """A conversation."""
    talk(load(checkpoint_folder(arguments.run, arguments.stage), arguments).model, arguments.image, console)


def report(arguments: Namespace) -> None:
    """The report again."""
    console.print(f"Report: {write_report(arguments.run)}")


def ablate(arguments: Namespace) -> None:
    """A study, then its table."""
    study = load_study(arguments.study)
    if arguments.smoke:
        study = replace(study, base=smoke(study.base), seeds=study.seeds[:2])
    folder = arguments.out or Path("runs") / "ablations" / study.name
    table = run_study(study, folder, arguments.jobs, say=say)
    console.print(table.read_text())
    console.print(f"Table: {table}")
