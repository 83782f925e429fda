"""A study: variants of one recipe, each over several seeds, and the table of their scores.

    study = Study(name="connectors", base=tiny(), variants={"avg": ("pretrain.model.connector.kind=avg_pool", …)})
    run_study(study, Path("runs/ablations/connectors"), jobs=2)

    FOLDER/steps/              results of all variants: stages that variants share are run once
    FOLDER/VARIANT-SEED/       a run folder each
    FOLDER/results.json, table.md

Knows nothing of which studies or recipes exist.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mm1.chain.recipe import RecipeConfig
from mm1.chain.run import run_recipe
from mm1.config import UserError, override
from mm1.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is varied, of what, and how often each variant is repeated."""

    name: str
    question: str
    """What the table is to answer, in one sentence."""
    base: RecipeConfig
    variants: Mapping[str, tuple[str, ...]]
    """Overrides of the base by the variant's label."""
    seeds: tuple[int, ...] = (0, 1, 2)

    def recipe(self, label: str, seed: int) -> RecipeConfig:
        """One variant with one seed."""
        return override(self.base, [*self.variants[label], f"seed={seed}"]).replace(name=f"{self.name}/{label}-{seed}")


def run_study(study: Study, folder: Path, jobs: int = 1, say: Callable[[str], None] = print) -> Path:
    """Runs every variant with every seed, `jobs` at a time with one thread each, and writes the table.

    Finished stages are skipped, so a study that was interrupted or extended goes on where it stands.

    Raises:
        UserError: `jobs` is not positive, a process was ended from outside, or what a variant's run raises; further
            variants are then not begun.
    """
    if jobs < 1:
        raise UserError(f"{jobs} variants at a time can not be run: give --jobs 1 or more")
    folder.mkdir(parents=True, exist_ok=True)
    todo = [(label, seed) for seed in study.seeds for label in study.variants]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {
            pool.submit(_run_variant, study.recipe(label, seed), folder / f"{label}-{seed}", folder): (label, seed)
            for label, seed in todo
        }
        try:
            for future in as_completed(futures):
                label, seed = futures[future]
                say(f"{label}, seed {seed}: {future.result():.0f} s")
        except BaseException as error:
            pool.shutdown(wait=True, cancel_futures=True)  # what runs is waited for; what waits is not begun
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a variant's process was ended from outside, perhaps for want of memory: run the same command "
                    "with fewer --jobs; it goes on from the stages that are finished"
                ) from None
            raise
    results = collect(study, folder)
    write_atomically(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    table = folder / "table.md"
    write_atomically(table, markdown(study, results).encode())
    return table


def _run_variant(recipe: RecipeConfig, run: Path, store: Path) -> float:
    """Runs one variant in a process of its own; returns its seconds."""
    torch.set_num_threads(1)
    run_recipe(recipe, run, say=lambda line: None, store=store, wait=True)
    return float(json.loads((run / "summary.json").read_text())["seconds"])


def collect(study: Study, folder: Path) -> dict[str, Any]:
    """{variant: {task: {shots: {"mean", "deviation", "scores"}}}} over the seeds; one seed has no deviation."""
    results: dict[str, Any] = {}
    for label in study.variants:
        runs = [json.loads((folder / f"{label}-{seed}" / "summary.json").read_text())["eval"] for seed in study.seeds]
        results[label] = {
            task: {shots: _spread([run[task][shots]["score"] for run in runs]) for shots in runs[0][task]}
            for task in runs[0]
        }
    return results


def _spread(scores: list[float]) -> dict[str, Any]:
    deviation = statistics.stdev(scores) if len(scores) > 1 else None
    return {"mean": statistics.fmean(scores), "deviation": deviation, "scores": scores}


def markdown(study: Study, results: Mapping[str, Any]) -> str:
    """The table: tasks and shots down, variants across, mean ± deviation over the seeds."""
    labels = list(study.variants)
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        f"{study.question} "
        + (f"Mean ± standard deviation over seeds {seeds}." if len(study.seeds) > 1 else f"Seed {seeds} alone."),
        "",
        f"| task | shots | {' | '.join(labels)} |",
        f"|---|---|{'---|' * len(labels)}",
    ]
    for task, cells in results[labels[0]].items():
        for shots in cells:
            values = [results[label][task][shots] for label in labels]
            lines.append(f"| {task} | {shots} | {' | '.join(map(_cell, values))} |")
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, Any]) -> str:
    spread = "" if value["deviation"] is None else f" ± {value['deviation']:.3f}"
    return f"{value['mean']:.3f}{spread}"
