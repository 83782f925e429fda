"""What a finished stage leaves behind: its weights, its tokenizer, and an account of how they came about.

    folder/model.safetensors    the whole model, from all ranks: its last weights, or their moving average
    folder/tokenizer.json       with config.json and the weights, a checkpoint
    folder/stage.json           seconds, tokens, speeds, shares declared and realised, parameters, dropped documents

stage.json is written last: where it stands, the stage is finished. Knows nothing of the loop.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mm1.checkpoint import WEIGHTS, copy_tokenizer
from mm1.data.loader import Loader
from mm1.distributed.collectives import wait_for_all
from mm1.distributed.mesh import World
from mm1.files import write_atomically
from mm1.models.counts import parameters_by_part
from mm1.models.weights import save_weights
from mm1.train.parallelize import gathered, resolve_precision
from mm1.train.stage import StageConfig
from mm1.train.state import TrainState

STAGE = "stage.json"


def finish(
    config: StageConfig, state: TrainState, loader: Loader, tokenizer: Path, folder: Path, world: World
) -> dict[str, Any]:
    """Writes weights, tokenizer, plan and account, and returns the account; a collective when there are many ranks."""
    account = _account(config, state, loader, world)
    tensors = gathered(state.outcome(), world)
    if world.is_first:
        save_weights(tensors, folder / WEIGHTS)
        copy_tokenizer(tokenizer, folder)
        loader.plan.save(folder)
        write_atomically(folder / STAGE, (json.dumps(account, indent=2) + "\n").encode())
    wait_for_all()
    return account


def finished(folder: Path) -> dict[str, Any] | None:
    """The account of a stage that is finished, although whoever ran it may not have learned so; None of any other."""
    path = folder / STAGE
    account: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return account


def mixture_lines(account: dict[str, Any]) -> tuple[str, str]:
    """How near the shares that were read are to those asked for, and how often sources were gone through."""
    declared, realised, epochs = account["declared"], account["realised"], account["epochs"]
    off = max(abs(realised[name] - share) for name, share in declared.items())
    least, most = (find(epochs, key=epochs.__getitem__) for find in (min, max))
    measure = account["measure"].replace("_", " ")
    return (
        f"mixture by {measure}: shares within {100 * off:.1f} points of what was asked for",
        f"   sources read {epochs[least]:.2g} times ({least}) to {epochs[most]:.2g} ({most})",
    )


def _account(config: StageConfig, state: TrainState, loader: Loader, world: World) -> dict[str, Any]:
    totals = state.tally.read()
    seconds = state.clock.total()
    return {
        "seconds": seconds,
        "steps": state.step,
        "tokens": int(totals["tokens"]),
        "target_tokens": int(totals["targets"]),
        "images": int(totals["images"]),
        "tokens_per_second": totals["tokens"] / seconds,
        "images_per_second": totals["images"] / seconds,
        "fill": loader.plan.fill(state.step),
        "padding": 1 - totals["tokens"] / totals["positions"],
        "data_share": state.clock.seconds["data"] / seconds,
        **loader.plan.account(state.step),
        "time": dict(state.clock.seconds),
        "parameters": parameters_by_part(state.model),
        "dropped": state.dropped(),
        "skipped_steps": int(state.skipped),
        "precision": resolve_precision(config.precision, world.device),
    }
