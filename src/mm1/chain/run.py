"""Runs a recipe: its stages as steps, in order, each skipped when finished and resumed when not.

    runs/tiny/recipe.json
    runs/tiny/prepare, encoder, language, pretrain, sft, eval     links into runs/tiny/steps/
    runs/tiny/summary.json, report.html

Knows nothing of which recipes exist, nor of how a stage trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mm1.chain.finished import RECIPE
from mm1.chain.own_tasks import EVALUATED, ask
from mm1.chain.prepare import TOKENIZER, identity, open_sources, prepare
from mm1.chain.recipe import STAGES, EvalConfig, RecipeConfig
from mm1.chain.report import write_report
from mm1.chain.summary import write_summary
from mm1.checkpoint import WEIGHTS
from mm1.config import UserError, save_json, to_json
from mm1.data.tokenizer import Tokenizer
from mm1.distributed.collectives import from_first_rank
from mm1.distributed.mesh import TOLD_ELSEWHERE, World
from mm1.eval.asking import Progress
from mm1.eval.provenance import scoring_version
from mm1.files import sha256_of
from mm1.steps import Outcome, Step, execute
from mm1.train.identity import identity as weights_depend_on
from mm1.train.profiling import Profile
from mm1.train.run import run_stage
from mm1.train.stage import StageConfig
from mm1.train.watch import UNWATCHED, Watch

Say = Callable[[str], None]


def run_recipe(
    recipe: RecipeConfig,
    folder: Path,
    say: Say = print,
    progress: Progress | None = None,
    *,
    store: Path | None = None,
    wait: bool = False,
    watch: Watch = UNWATCHED,
) -> Path:
    """Runs every stage into `folder` and writes its summary and report; returns the report's path.

    Args:
        recipe: what to run.
        folder: the run folder; made if it is not there.
        say: gets lines that tell what happens.
        progress: called as evaluation advances.
        store: where the stages' results stand, if several runs share them.
        wait: wait for another process that runs a stage of the same store.
        watch: what else is written down while stages train.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_json(recipe, folder / RECIPE)
    outcomes: dict[str, Outcome] = {}
    for name, step in build_steps(recipe, store or folder, say, progress, watch=watch).items():
        say(f"── {name}")
        outcomes[name] = execute(step, folder, store, wait)
        state = "finished before, skipped" if outcomes[name].skipped else "finished"
        say(f"   {name} {state} ({outcomes[name].seconds:.0f} s) → {outcomes[name].folder}")
    seconds = {name: outcome.seconds for name, outcome in outcomes.items()}
    write_summary(recipe, folder, seconds, anew=not all(outcome.skipped for outcome in outcomes.values()))
    return write_report(folder)


def build_steps(
    recipe: RecipeConfig, store: Path, say: Say, progress: Progress | None = None, *, watch: Watch = UNWATCHED
) -> dict[str, Step]:
    """The recipe's stages by name, each knowing its inputs; results are looked for in `store`.

    Raises:
        UserError: a stage begins with weights that are not there: of no stage before it, and of no checkpoint.
    """
    steps = {"prepare": prepare_step(recipe, say)}
    for name in recipe.stages:
        init = _init(recipe, name)
        earlier = [steps[source] for source in init.values() if isinstance(source, str)]
        steps[name] = Step(
            name=name,
            config=_stage_identity(recipe.stage(name), init),
            inputs=(steps["prepare"], *earlier),
            run=lambda folder, name=name: _train(recipe, name, folder, steps, store, say, watch),  # type: ignore[misc]
        )
    if recipe.eval is not None:
        asked = recipe.eval
        steps["eval"] = Step(
            name="eval",
            config={**to_json(asked), "scoring": scoring_version()},  # a metric that changes makes scores stale
            inputs=(steps["prepare"], *(steps[name] for name in recipe.stages if name in EVALUATED)),
            run=lambda folder: _evaluate(recipe, asked, folder, steps, store, progress),
        )
    return steps


def prepare_step(recipe: RecipeConfig, say: Say) -> Step:
    """The first step of a recipe; UserError if what it prepares is not there."""
    return Step(
        name="prepare",
        version=2,
        config=identity(recipe.prepare),
        run=lambda folder: _prepare(recipe, folder, say),
    )


def _init(recipe: RecipeConfig, name: str) -> dict[str, str | Path]:
    """What the stage `name` begins with, by prefix: a stage of the recipe before it, or a checkpoint's weights."""
    earlier = recipe.stages[: recipe.stages.index(name)]
    found: dict[str, str | Path] = {}
    for part, source in recipe.stage(name).init.items():
        weights = Path(source) / WEIGHTS
        if source in earlier:
            found[part] = source
        elif source not in STAGES and weights.is_file():
            found[part] = weights
        else:
            choice = f"name one of {', '.join(earlier)}, or a checkpoint" if earlier else "name a checkpoint"
            raise UserError(
                f"{name}.init.{part} is '{source}', which is neither a training stage before '{name}' nor a folder "
                f"with a {WEIGHTS}: {choice}"
            )
    return found


def _stage_identity(config: StageConfig, init: Mapping[str, str | Path]) -> dict[str, Any]:
    """All that a stage's weights depend on besides its inputs; weights made elsewhere count by their content."""
    values = weights_depend_on(config)
    outside = {part: path for part, path in init.items() if isinstance(path, Path)}
    digests = {path: sha256_of(path) for path in set(outside.values())}
    values["init"] |= {part: digests[path] for part, path in outside.items()}
    return values


def _prepare(recipe: RecipeConfig, folder: Path, say: Say) -> None:
    prepare(recipe.prepare, folder, say)


def _train(
    recipe: RecipeConfig, name: str, folder: Path, steps: dict[str, Step], store: Path, say: Say, watch: Watch
) -> None:
    config, prepared = recipe.stage(name), steps["prepare"].folder(store)
    run_stage(
        config,
        folder,
        sources=open_sources(prepared, list(config.data.mixture.shares())),
        tokenizer=Tokenizer(prepared / TOKENIZER),
        init_weights={
            part: source if isinstance(source, Path) else steps[source].folder(store) / WEIGHTS
            for part, source in _init(recipe, name).items()
        },
        name=name,
        say=say,
        hooks=[Profile(folder, say)] if watch.profile else [],
        track=watch.track,
    )


def train_stage(
    recipe: RecipeConfig, name: str, folder: Path, world: World, say: Say = print, *, watch: Watch = UNWATCHED
) -> Outcome:
    """One training stage, on all ranks of `world`; every rank returns when the stage stands in its place.

    A trace that `watch` asks for is that of the first rank.

    Raises:
        UserError: a stage that it begins with is not finished, or another process is at it; on the first rank only.
    """
    watch = replace(watch, profile=watch.profile and world.is_first)
    step = build_steps(recipe, folder, say, watch=watch)[name]
    if world.is_first:
        return _lead(step, folder)
    if not from_first_rank(False):
        raise SystemExit(TOLD_ELSEWHERE)
    if not from_first_rank(False):
        step.run(step.partial_folder(folder))
    return from_first_rank(Outcome(folder=folder, seconds=0))


def _lead(step: Step, folder: Path) -> Outcome:
    """Tells the other ranks whether all is in order, then whether the step is skipped, then its outcome."""
    told = False

    def tell(skipped: bool) -> None:
        nonlocal told
        told = True
        from_first_rank(True)
        from_first_rank(skipped)

    def run(partial: Path) -> None:
        tell(skipped=False)  # only now is the lock held, and the folder there
        step.run(partial)

    try:
        for source in step.inputs:
            if not source.folder(folder).exists():
                raise UserError(
                    f"'{step.name}' begins with '{source.name}', which is not finished in {folder}: type "
                    f"`mm1 run RECIPE --out {folder}` first, which makes all that is missing"
                )
        outcome = execute(replace(step, run=run), folder)
    except BaseException:
        if not told:
            from_first_rank(False)
        raise
    if not told:
        tell(skipped=True)
    return from_first_rank(outcome)


def _evaluate(
    recipe: RecipeConfig,
    config: EvalConfig,
    folder: Path,
    steps: dict[str, Step],
    store: Path,
    progress: Progress | None,
) -> None:
    folders = {name: steps[name].folder(store) for name in recipe.stages if name in EVALUATED}
    ask(config, folders, folder, progress)
