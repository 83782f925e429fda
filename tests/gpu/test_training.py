"""A stage from its first step to its weights, in the number format of the device, and what it never does in a step."""

from __future__ import annotations

import json
import math
import signal
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mm1.train.checkpoints import Interrupted
from mm1.train.loop import StepInfo
from mm1.train.run import run_stage
from mm1.train.stage import StageConfig

MODELS = pytest.mark.parametrize("model", ["mm1", "clip"])
CPU = torch.device("cpu")


def run(
    tiny: ModuleType, folder: Path, device: torch.device, config: StageConfig, hooks: tuple[Any, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Trains on `device`; the account, and the lines it printed."""
    folder.mkdir(exist_ok=True)
    lines: list[str] = []
    tokenizer, sources = tiny.world_of(folder.parent, config.model.num_image_tokens)
    account = run_stage(config, folder, sources, tokenizer, hooks=hooks, say=lines.append, device=device.type)
    return account, lines


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def stage(tiny: ModuleType, model: str, **changes: Any) -> StageConfig:
    """The number format that the device has hardware for: bf16 on CUDA."""
    text_share = 0.5 if model == "mm1" else 0.0
    config: StageConfig = tiny.stage(model, text_share=text_share, **{"precision": "auto", **changes})
    return config


@MODELS
def test_a_stage_learns_and_goes_on_after_an_interruption(
    tiny: ModuleType, tmp_path: Path, device: torch.device, model: str
) -> None:
    config = stage(tiny, model, steps=16, checkpoint_every=16)
    account, _ = run(tiny, tmp_path / "whole", device, config)
    losses = [line["loss"] for line in log_of(tmp_path / "whole")]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.9 * losses[0]
    assert account["skipped_steps"] == 0
    assert account["precision"] == ("bf16" if device.type == "cuda" else account["precision"])
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "whole" / "model.safetensors").values())

    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "stopped", device, config, (tiny.SignalAt(9, signal.SIGTERM),))
    resumed, lines = run(tiny, tmp_path / "stopped", device, config)
    assert any(line.startswith("going on from step 9") for line in lines)
    whole, stopped = log_of(tmp_path / "whole"), log_of(tmp_path / "stopped")
    assert [line["step"] for line in stopped] == [line["step"] for line in whole]
    for key in ("tokens", "target_tokens", "images"):
        assert resumed[key] == account[key]
    # Sums on CUDA have no fixed order, and Muon enlarges what that changes.
    assert stopped[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=0.05)


@pytest.mark.usefixtures("whole_float32")
@MODELS
def test_the_first_loss_is_that_of_the_cpu(tiny: ModuleType, tmp_path: Path, device: torch.device, model: str) -> None:
    config = stage(tiny, model, steps=1, log_every=1, precision="fp32")
    for name, where in (("here", device), ("cpu", CPU)):
        run(tiny, tmp_path / name, where, config)
    (here,), (there,) = log_of(tmp_path / "here"), log_of(tmp_path / "cpu")
    assert here["loss"] == pytest.approx(there["loss"], rel=1e-5)
    assert here["loss_by_source"] == pytest.approx(there["loss_by_source"], rel=1e-5)
    assert here["grad_norm"] == pytest.approx(there["grad_norm"], rel=1e-3)


class NoWaiting:
    """A hook under which every wait of the host for the device is an error from the end of step 1 to that of step 4."""

    def on_step(self, info: StepInfo) -> None:
        if info.step == 1:
            forbid_waiting(True)
            with pytest.raises(RuntimeError, match="synchroniz"):
                info.grad_norm.item()
        if info.step == 4:
            forbid_waiting(False)


def forbid_waiting(forbidden: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that the mode may miss something
        torch.cuda.set_sync_debug_mode("error" if forbidden else "default")


@pytest.mark.parametrize(("model", "microbatch_rows"), [("mm1", None), ("mm1", 4), ("clip", None)])
def test_the_host_waits_for_nothing_in_a_step(
    tiny: ModuleType, tmp_path: Path, cuda: torch.device, model: str, microbatch_rows: int | None
) -> None:
    # Rows enough that embeddings' gradients are computed as in real runs, by sorting.
    data = stage(tiny, model, rows=16).data.replace(seq_len=256)
    config = stage(tiny, model, steps=5, log_every=5, checkpoint_every=5, data=data, microbatch_rows=microbatch_rows)
    try:
        account, _ = run(tiny, tmp_path / "stage", cuda, config, (NoWaiting(),))
    finally:
        forbid_waiting(False)
    assert account["steps"] == 5
