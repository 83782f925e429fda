"""Runs a recipe: its stages as steps, in order, each skipped when finished and resumed when not.

    runs/tiny/recipe.json
    runs/tiny/prepare, encoder, language, pretrain, sft, eval     links into runs/tiny/steps/
    runs/tiny/summary.json, report.html

Knows nothing of which recipes exist, nor of how a stage trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mm1.chain.prepare import TOKENIZER, open_sources, prepare
from mm1.chain.recipe import STAGES, EvalConfig, RecipeConfig
from mm1.chain.report import write_report
from mm1.chain.summary import write_summary
from mm1.config import UserError, save_json, to_json
from mm1.data.tokenizer import Tokenizer
from mm1.distributed.collectives import from_first_rank
from mm1.distributed.mesh import TOLD_ELSEWHERE, World
from mm1.eval.model import MM1Model
from mm1.eval.naming import naming_tasks
from mm1.eval.runner import Progress, Result, evaluate
from mm1.eval.tasks import Task
from mm1.eval.world import chat_tasks, pretrained_tasks
from mm1.steps import Outcome, Step, execute
from mm1.train.run import run_stage
from mm1.types import Image

Say = Callable[[str], None]

_WEIGHTS = "model.safetensors"


def run_recipe(
    recipe: RecipeConfig,
    folder: Path,
    say: Say = print,
    progress: Progress | None = None,
    *,
    store: Path | None = None,
    wait: bool = False,
) -> Path:
    """Runs every stage into `folder` and writes its summary and report; returns the report's path.

    Args:
        recipe: what to run.
        folder: the run folder; made if it is not there.
        say: gets lines that tell what happens.
        progress: called as evaluation advances.
        store: where the stages' results stand, if several runs share them.
        wait: wait for another process that runs a stage of the same store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_json(recipe, folder / "recipe.json")
    outcomes: dict[str, Outcome] = {}
    for name, step in build_steps(recipe, store or folder, say, progress).items():
        say(f"── {name}")
        outcomes[name] = execute(step, folder, store, wait)
        state = "finished before, skipped" if outcomes[name].skipped else "finished"
        say(f"   {name} {state} ({outcomes[name].seconds:.0f} s) → {outcomes[name].folder}")
    write_summary(recipe, folder, {name: outcome.seconds for name, outcome in outcomes.items()})
    return write_report(folder)


def build_steps(recipe: RecipeConfig, store: Path, say: Say, progress: Progress | None = None) -> dict[str, Step]:
    """The recipe's stages by name, each knowing its inputs; results are looked for in `store`.

    Raises:
        UserError: a stage begins with the weights of one that is not before it.
    """
    steps: dict[str, Step] = {
        # How many processes write the shards changes nothing in them.
        "prepare": Step(
            name="prepare",
            config=to_json(recipe.prepare.replace(num_processes=1)),
            run=lambda folder: prepare(recipe.prepare, folder, say),
        )
    }
    for name in STAGES:
        sources = [steps["prepare"], *(steps[stage] for stage in _begins_with(recipe, name))]
        steps[name] = Step(
            name=name,
            config=to_json(recipe.stage(name)),
            inputs=tuple(sources),
            run=lambda folder, name=name: _train(recipe, name, folder, steps, store, say),  # type: ignore[misc]
        )

    steps["eval"] = Step(
        name="eval",
        config=to_json(recipe.eval),
        inputs=(steps["prepare"], steps["pretrain"], steps["sft"]),
        run=lambda folder: _evaluate(recipe, folder, steps, store, progress),
    )
    return steps


def _begins_with(recipe: RecipeConfig, name: str) -> Iterator[str]:
    """The stages whose weights the stage `name` starts from; each has to come before it."""
    earlier = STAGES[: STAGES.index(name)]
    for part, stage in recipe.stage(name).init.items():
        if stage not in earlier:
            choice = f"name one of {', '.join(earlier)}" if earlier else f"'{name}' is the first and takes none"
            raise UserError(f"{name}.init.{part} is '{stage}', which is no training stage before '{name}': {choice}")
        yield stage


def _train(recipe: RecipeConfig, name: str, folder: Path, steps: dict[str, Step], store: Path, say: Say) -> None:
    config, prepared = recipe.stage(name), steps["prepare"].folder(store)
    run_stage(
        config,
        folder,
        sources=open_sources(prepared, list(config.data.mixture.shares())),
        tokenizer=Tokenizer(prepared / TOKENIZER),
        init_weights={prefix: steps[stage].folder(store) / _WEIGHTS for prefix, stage in config.init.items()},
        name=name,
        say=say,
    )


def train_stage(recipe: RecipeConfig, name: str, folder: Path, world: World, say: Say = print) -> Outcome:
    """One training stage, on all ranks of `world`; every rank returns when the stage stands in its place.

    Raises:
        UserError: a stage that it begins with is not finished, or another process is at it; on the first rank only.
    """
    step = build_steps(recipe, folder, say)[name]
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
                    f"'{step.name}' begins with '{source.name}', which is not finished in {folder}: run it first"
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
    recipe: RecipeConfig, folder: Path, steps: dict[str, Step], store: Path, progress: Progress | None
) -> None:
    tokenizer = steps["prepare"].folder(store) / TOKENIZER
    ask(recipe.eval, lambda stage: steps[stage].folder(store), tokenizer, folder, progress)


def finished_stage(folder: Path, stage: str) -> Path:
    """The folder of what `stage` of the run in `folder` trained.

    Raises:
        UserError: the run, or that stage of it, is not finished.
    """
    if not (folder / stage / _WEIGHTS).exists():
        raise UserError(f"{folder} has no finished stage '{stage}': finish it with `mm1 run … --out {folder}`")
    return folder / stage


def ask(
    config: EvalConfig,
    folder_of: Callable[[str], Path],
    tokenizer: Path,
    folder: Path,
    progress: Progress | None = None,
    only: Sequence[str] | None = None,
) -> list[Result]:
    """Asks the pretrained model its few-shot tasks and the fine-tuned one its chat tasks; results go to `folder`.

    Args:
        config: what is asked.
        folder_of: where a stage's weights stand.
        tokenizer: the models' tokenizer.json.
        folder: where results go; those that are there for the same questions to the same weights are kept.
        progress: called as evaluation advances.
        only: names of tasks; all where None.

    Raises:
        UserError: a name in `only` is no task's.
    """
    asked: tuple[tuple[str, list[Task], tuple[int, ...]], ...] = (
        ("pretrain", [*pretrained_tasks(config.world), *naming_tasks(config.naming)], config.shots),
        ("sft", chat_tasks(config.world), (0,)),
    )
    names = [task.name for _, tasks, _ in asked for task in tasks]
    for name in only or ():
        if name not in names:
            raise UserError(f"no task is named '{name}': there are {', '.join(names)}")
    results: list[Result] = []
    for stage, tasks, shots in asked:
        chosen = [task for task in tasks if only is None or task.name in only]
        seeing = [task for task in chosen if any(isinstance(part, Image) for part in task.episodes[0].query)]
        if not chosen:
            continue
        model, model_name = MM1Model.load(folder_of(stage), tokenizer), _model_name(stage, folder_of(stage))
        results += evaluate(model, chosen, shots, folder, config.seed, model_name=model_name, progress=progress)
        if seeing and config.blind:
            results += evaluate(
                model, seeing, shots, folder, config.seed, model_name=model_name, blind=True, progress=progress
            )
    return results


def _model_name(stage: str, folder: Path) -> str:
    """The stage with a hash of its weights, so that another model's answers are never taken for this one's."""
    with (folder / _WEIGHTS).open("rb") as file:
        return f"{stage} {hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
