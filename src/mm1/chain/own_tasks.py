"""A recipe's own tasks, put to the models that its stages made.

    ask(recipe.eval, {"pretrain": run / "pretrain"}, run / "eval")

Knows nothing of benchmarks and their files, which benchmarks.py asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mm1.chain.recipe import EvalConfig
from mm1.checkpoint import open_checkpoint
from mm1.config import UserError
from mm1.distributed.mesh import default_device
from mm1.eval.asking import Progress
from mm1.eval.model import MM1Model
from mm1.eval.naming import naming_tasks
from mm1.eval.results import Result
from mm1.eval.runner import evaluate
from mm1.eval.tasks import Task
from mm1.eval.world import chat_tasks, pretrained_tasks
from mm1.types import Image

EVALUATED = ("pretrain", "sft")
"""The stages whose models are asked."""


def ask(
    config: EvalConfig,
    folders: Mapping[str, Path],
    folder: Path,
    progress: Progress | None = None,
    only: Sequence[str] | None = None,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Result]:
    """Asks the pretrained model its few-shot tasks and the fine-tuned one its chat tasks; results go to `folder`.

    Args:
        config: what is asked.
        folders: where the weights of the stages stand that are asked, of those in `EVALUATED`.
        folder: where results go; those that are there for the same questions to the same weights are kept.
        progress: called as evaluation advances.
        only: names of tasks; all where None.
        device: where models compute; CUDA where there is one when None.
        dtype: what they compute in.

    Raises:
        UserError: a name in `only` is no task's.
    """
    asked: list[tuple[str, list[Task], tuple[int, ...]]] = []
    if "pretrain" in folders:
        asked.append(("pretrain", [*pretrained_tasks(config.world), *naming_tasks(config.naming)], config.shots))
    if "sft" in folders:
        asked.append(("sft", chat_tasks(config.world), (0,)))
    names = [task.name for _, tasks, _ in asked for task in tasks]
    for name in only or ():
        if name not in names:
            raise UserError(f"no task is named '{name}': there are {', '.join(names)}")
    where = device or default_device()
    results: list[Result] = []
    for stage, tasks, shots in asked:
        chosen = [task for task in tasks if only is None or task.name in only]
        seeing = [task for task in chosen if any(isinstance(part, Image) for part in task.episodes[0].query)]
        if not chosen:
            continue
        model = MM1Model.load(folders[stage], where, dtype=dtype)
        name = open_checkpoint(folders[stage]).title(dtype, stage)
        results += evaluate(model, chosen, shots, folder, config.seed, model_name=name, progress=progress)
        if seeing and config.blind:
            results += evaluate(
                model, seeing, shots, folder, config.seed, model_name=name, blind=True, progress=progress
            )
    return results
