"""`mm1 eval`: a run's own tasks again, or benchmarks from their authors' files. Under torchrun the ranks share them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mm1.chain.benchmarks import ask_benchmarks
from mm1.chain.finished import RECIPE, checkpoint_folder, finished_stage
from mm1.chain.own_tasks import EVALUATED, ask
from mm1.chain.recipe import EvalConfig, RecipeConfig
from mm1.chain.report import EVALUATIONS, write_evaluation_page, write_report
from mm1.cli import tables
from mm1.cli.comparison import comparison, notes, ratios
from mm1.cli.loading import device, dtype
from mm1.cli.options import at_least, check_out_folder, from_options
from mm1.cli.progress import EvalProgress
from mm1.config import UserError, load_json
from mm1.distributed.mesh import World, joined
from mm1.eval.asking import Progress
from mm1.eval.official.catalog import FewShotConfig
from mm1.eval.results import Result, by_task, read_results

console = Console(highlight=False, soft_wrap=True, markup=False)

PAPERS_SHOTS = (0, 4, 8)
OTHERS = {"selection": "--examples", "fixed": "--examples", "num_questions": "--episodes"}
UNTRAINED_LENGTH = 8192
"""Longest prompt for a checkpoint that does not say what lengths it was trained with."""


def eval(arguments: Namespace) -> None:
    """What `--tasks` names: NAME is a task of the run's recipe, NAME:FOLDER a benchmark."""
    at_least(1, **{"--episodes": arguments.episodes, "--max-len": arguments.max_len})
    with joined(device(arguments.device).type) as world, world.telling_once(), EvalProgress(console) as progress:
        named = arguments.tasks.split(",") if arguments.tasks else []
        own = [task for task in named if ":" not in task]
        benchmarks = [
            (name, Path(folder)) for task in named if ":" in task for name, _, folder in [task.partition(":")]
        ]
        out = arguments.out or arguments.run / EVALUATIONS
        check_out_folder(out)
        if own or not benchmarks:
            if world.size > 1:
                raise UserError("a recipe's own tasks are small and asked by one process: leave torchrun out")
            results = _ask_own(arguments, own, out, world, progress)
            tables.show(console, tables.scores(by_task(results)))
            write_evaluation_page(out)
        if benchmarks:
            baseline = _baseline(arguments.baseline) if arguments.baseline else None
            results = _ask_benchmarks(arguments, benchmarks, out, world, progress)
            _show(results, world)
            if baseline is not None and world.is_first:
                console.print(ratios(results, baseline, str(arguments.baseline)))
        if world.is_first:
            if out.resolve() == (arguments.run / EVALUATIONS).resolve() and (arguments.run / "report.html").is_file():
                write_report(arguments.run)  # it names the page of evaluations
            console.print(f"Results and samples: {out}, to look at: {out / 'report.html'}")


def _baseline(folder: Path) -> list[Result]:
    """Another's results; looked at before hours of work."""
    results = read_results(folder)
    if not results:
        raise UserError(f"--baseline is {folder}, which holds no results (*shot.json): give another's --out")
    return results


def _show(results: Sequence[Result], world: World) -> None:
    if world.is_first:
        tables.show(console, *comparison(results, console.width if console.is_terminal else None))
        for line in notes(results):
            console.print(line)


def _ask_own(arguments: Namespace, only: Sequence[str], out: Path, world: World, progress: Progress) -> list[Result]:
    """Other questions for a finished run."""
    folder: Path = arguments.run
    recipe = _recipe(folder)
    if recipe is None:
        raise UserError(
            f"{folder} is not a run folder (it has no {RECIPE}): give one that `mm1 run` made, or benchmarks for a "
            "checkpoint, as --tasks vqav2:FOLDER"
        )
    config = recipe.eval or EvalConfig()
    if arguments.shots:
        config = config.replace(shots=_shots(arguments))
        most = max(config.world.max_shots, *config.shots)
        config = config.replace(
            world=config.world.replace(max_shots=most), naming=config.naming.replace(max_shots=most)
        )
    if arguments.episodes:
        config = config.replace(
            world=config.world.replace(num_episodes=arguments.episodes),
            naming=config.naming.replace(num_episodes=arguments.episodes),
        )
    stages = {name: finished_stage(folder, name) for name in recipe.stages if name in EVALUATED}
    return ask(
        config, stages, out, progress, only or None, device=world.device, dtype=dtype(arguments.dtype, world.device)
    )


def _ask_benchmarks(
    arguments: Namespace, benchmarks: Sequence[tuple[str, Path]], out: Path, world: World, progress: Progress
) -> list[Result]:
    checkpoint = checkpoint_folder(arguments.run, arguments.stage)
    return ask_benchmarks(
        checkpoint,
        benchmarks,
        _few_shot(arguments),
        _shots(arguments) if arguments.shots else PAPERS_SHOTS,
        out,
        max_len=arguments.max_len or trained_length(arguments.run, arguments.stage),
        dtype=dtype(arguments.dtype, world.device),
        blind=arguments.blind,
        world=world,
        progress=progress,
    )


def _few_shot(arguments: Namespace) -> FewShotConfig:
    selection, _, fixed = arguments.examples.partition(":")
    asked = {
        "selection": selection,
        "fixed": fixed or None,
        "seeds": _numbers("--seeds", arguments.seeds),
        "num_questions": arguments.episodes,
        "text_only": arguments.text_only,
        "last_in_sub_images": arguments.last_in_sub_images,
        "reasoning": arguments.reasoning,
        "ways": arguments.ways,
    }
    return from_options(FewShotConfig, asked, OTHERS)


def trained_length(folder: Path, stage: str | None) -> int:
    """Of a run's stage, what its sequences held: further positions were never seen."""
    recipe = _recipe(folder)
    return UNTRAINED_LENGTH if recipe is None else recipe.stage(stage or recipe.stages[-1]).data.seq_len


def _recipe(folder: Path) -> RecipeConfig | None:
    return load_json(RecipeConfig, folder / RECIPE) if (folder / RECIPE).exists() else None


def _shots(arguments: Namespace) -> tuple[int, ...]:
    shots = _numbers("--shots", arguments.shots)
    at_least(0, **{"--shots": min(shots)})
    return tuple(dict.fromkeys(shots))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"{option} is '{text}': give numbers with commas between them, such as 0,4,8") from None
