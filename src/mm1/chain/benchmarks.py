"""Benchmarks from their authors' files, put to a checkpoint: results, samples and a page to look at.

    ask_benchmarks(run / "sft", [("vqav2", Path("data/vqav2"))], FewShotConfig(), (0, 4), out)

    out/vqav2-4shot.json, out/vqav2-4shot.samples.jsonl, out/images/…, out/report.html

Knows nothing of the command line, nor of any benchmark's format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mm1.chain.report import write_evaluation_page
from mm1.checkpoint import open_checkpoint
from mm1.distributed.collectives import wait_for_all
from mm1.distributed.mesh import World
from mm1.eval.asking import Progress
from mm1.eval.model import MM1Model
from mm1.eval.official.catalog import FewShotConfig, build_tasks
from mm1.eval.official.features import encoder_features, pool_features
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Row
from mm1.eval.official.selection import Nearest
from mm1.eval.results import Result
from mm1.eval.runner import evaluate

ALONE = World()


def ask_benchmarks(
    checkpoint: Path,
    specs: Sequence[tuple[str, Path]],
    config: FewShotConfig,
    shots: Sequence[int],
    out: Path,
    *,
    max_len: int,
    dtype: torch.dtype = torch.float32,
    blind: bool = False,
    world: World = ALONE,
    progress: Progress | None = None,
) -> list[Result]:
    """Asks every benchmark with every number of shots.

    Args:
        checkpoint: a folder with a model.
        specs: names in the catalog, each with the folder of its files.
        config: how examples are chosen and questions put.
        shots: numbers of examples.
        out: where results go; those that are there for the same question are kept.
        max_len: the longest prompt with its answer; longer ones lose their oldest examples.
        dtype: what the model computes in.
        blind: ask also with every picture replaced by another question's.
        world: the processes that share the work.
        progress: called as evaluation advances.

    Raises:
        UserError: the checkpoint or the files are not what they should be, or not one question can be asked.
    """
    model = MM1Model.load(checkpoint, world.device, max_len=max_len, dtype=dtype)
    name = open_checkpoint(checkpoint).title(dtype)

    def nearest(task: str, pool: Sequence[Row], pictures: Pictures) -> Nearest:
        features = encoder_features(model)
        return Nearest(
            pool, pictures, features, pool_features(pool, pictures, features, out / ".features", name, world)
        )

    tasks = build_tasks(specs, config, nearest)
    results: list[Result] = []
    for unseen in (False, True) if blind else (False,):
        results += evaluate(
            model, tasks, shots, out, model_name=name, max_len=max_len, blind=unseen, world=world, progress=progress
        )
    if world.is_first:
        write_evaluation_page(out)
    wait_for_all()
    return results
