"""Which of a stage's fields its weights depend on: what makes it another stage, and what may change while it is one.

    identity(config)                # plain values: equal ones give equal weights (to rounding, over other layouts)
    claim(config, folder, …)        # config.json: the folder is this stage's from now on, or was

Whoever adds a field decides here; a test asks for it. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mm1.checkpoint import CONFIG
from mm1.config import TornFile, UserError, diff, load_json, save_json, to_json
from mm1.distributed.collectives import wait_for_all
from mm1.distributed.mesh import World
from mm1.train.stage import StageConfig

FREE_TO_CHANGE = frozenset(
    {
        "log_every",
        "checkpoint_every",
        "checkpoints_kept",
        "checkpoints_kept_every",
        "num_workers",
        "max_skipped_steps",
        "parallel",
        "data.max_dropped_share",
        "keep_padding",
    }
)
"""How often something is written, when a run gives up, who computes: all else decides what comes out."""


def identity(config: StageConfig) -> dict[str, Any]:
    """The config as JSON, without what is free to change."""
    values = to_json(config)
    for path in FREE_TO_CHANGE:
        *outer, last = path.split(".")
        place = values
        for key in outer:
            place = place[key]
        del place[last]
    return values


def claim(config: StageConfig, folder: Path, world: World, say: Callable[[str], None]) -> None:
    """Records the config in the folder, or makes sure that the folder was begun with this one; a collective.

    Raises:
        UserError: it was begun with another one.
    """
    path = folder / CONFIG
    begun = _begun_with(path, say)
    changed = {key: pair for key, pair in diff(begun or config, config).items() if not _is_free(key)}
    if changed:
        key, (old, new) = next(iter(changed.items()))
        raise UserError(
            f"{folder} was begun with another config ({key} was {old} and is now {new}; {len(changed)} such "
            "differences): train into another folder"
        )
    wait_for_all()
    if world.is_first and begun != config:
        save_json(config, path)
    wait_for_all()


def _is_free(key: str) -> bool:
    return any(key == path or key.startswith(path + ".") for path in FREE_TO_CHANGE)


def _begun_with(path: Path, say: Callable[[str], None]) -> StageConfig | None:
    """The config on record; None where there is none, or one that says nothing because its writing was cut off."""
    if not path.exists():
        return None
    try:
        return load_json(StageConfig, path)
    except TornFile:
        say(f"{path} was cut off in writing: it is written again")
        return None
