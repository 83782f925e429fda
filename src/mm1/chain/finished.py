"""Where a run keeps what it has finished.

    checkpoint_folder(Path("runs/tiny"))            # runs/tiny/sft, the last stage's
    checkpoint_folder(Path("runs/tiny"), "pretrain")

Knows nothing of how a stage comes to be.
"""

from __future__ import annotations

from pathlib import Path

from mm1.chain.recipe import RecipeConfig
from mm1.checkpoint import WEIGHTS
from mm1.config import UserError, load_json

RECIPE = "recipe.json"


def finished_stage(folder: Path, stage: str) -> Path:
    """The folder of what `stage` of the run in `folder` trained.

    Raises:
        UserError: the run, or that stage of it, is not finished.
    """
    if not (folder / stage / WEIGHTS).exists():
        raise UserError(f"{folder} has no finished stage '{stage}': finish it with `mm1 run … --out {folder}`")
    return folder / stage


def checkpoint_folder(path: Path, stage: str | None = None) -> Path:
    """Where the checkpoint is that `path` means: what a run's `stage` trained (its last where None), or `path` itself.

    Raises:
        UserError: the run's stage is not finished, or a stage is named where there is no run.
    """
    if (path / RECIPE).exists():
        return finished_stage(path, stage or load_json(RecipeConfig, path / RECIPE).stages[-1])
    if stage is not None:
        raise UserError(f"{path} is no run folder (it has no {RECIPE}), so it has no stage '{stage}': leave it out")
    return path
