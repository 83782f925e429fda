from __future__ import annotations

import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mm1.train.checkpoints import Interrupted
from mm1.train.ema import Average, EMAConfig
from mm1.train.optimizer import OptimizerConfig
from mm1.train.run import run_stage

ADAFACTOR = OptimizerConfig(kind="adafactor", learning_rate=3e-3, factor_from=8, frozen=("image_encoder",))


class Weights:
    """A hook that keeps copies of the weights after every step."""

    def __init__(self) -> None:
        self.after: list[dict[str, Tensor]] = []

    def on_step(self, info: Any) -> None:
        self.after.append({name: tensor.clone() for name, tensor in info.state.model.state_dict().items()})


def run(tiny: ModuleType, folder: Path, ema: EMAConfig | None, hooks: tuple[Any, ...] = ()) -> dict[str, Tensor]:
    """The weights that a tiny stage writes."""
    folder.mkdir(exist_ok=True)
    config = tiny.stage(optimizer=ADAFACTOR, ema=ema)
    tokenizer, sources = tiny.world_of(folder.parent)
    run_stage(config, folder, sources, tokenizer, hooks=hooks, say=lambda line: None)
    return load_file(folder / "model.safetensors")


def layer(value: float) -> nn.Linear:
    made = nn.Linear(2, 2)
    nn.init.constant_(made.weight, value)
    return made


def test_follows_the_weights_by_the_rule_and_begins_at_start() -> None:
    model, none = layer(0.0), torch.zeros(())
    average = Average(model, EMAConfig(decay=0.15, start=2))
    expected = 0.0
    for step, value in enumerate([5.0, -1.0, 2.0, 4.0, 8.0]):
        nn.init.constant_(model.weight, value)
        average.update(step, none)
        decay = min(0.15, (1 + step - 2) / (10 + step - 2)) if step >= 2 else 0.0
        expected = decay * expected + (1 - decay) * value
        assert average.tensors["weight"][0, 0].item() == pytest.approx(expected), step
    assert decay == 0.15


@pytest.mark.parametrize("step", [0, 1, 2, 50])
def test_a_skipped_step_leaves_it(step: int) -> None:
    model = layer(1.0)
    average = Average(model, EMAConfig(decay=0.9, start=1))
    nn.init.constant_(model.weight, 3.0)
    average.update(step, torch.ones(()))
    assert (average.tensors["weight"] == 1.0).all()


def test_only_what_moves_has_an_average() -> None:
    model = layer(1.0)
    model.bias.requires_grad_(False)
    assert list(Average(model, EMAConfig()).tensors) == ["weight"]


def test_until_start_it_is_the_weights_themselves_and_then_mostly_the_newest() -> None:
    """The bound on young averages: 0.1 of the one before in the first step, 0.55 in the tenth."""
    model, none = layer(0.0), torch.zeros(())
    average = Average(model, EMAConfig(decay=0.999, start=3))
    for step, (value, expected) in enumerate([(0.1, 0.1), (0.7, 0.7), (0.3, 0.3), (1.0, 0.93), (2.0, 1.805454545)]):
        nn.init.constant_(model.weight, value)
        average.update(step, none)
        assert average.tensors["weight"][0, 0].item() == pytest.approx(expected), step


def test_the_stage_writes_the_average_or_the_last_weights_as_asked(tiny: ModuleType, tmp_path: Path) -> None:
    seen = Weights()
    last = run(tiny, tmp_path / "none", None, (seen,))
    kept = run(tiny, tmp_path / "last", EMAConfig(written="last"))
    assert all(torch.equal(kept[name], tensor) for name, tensor in last.items())
    written = run(tiny, tmp_path / "average", EMAConfig(decay=0.3, start=2))
    assert written.keys() == last.keys()
    for name, tensor in written.items():
        expected = seen.after[1][name]
        for age, after in enumerate(seen.after[2:]):
            decay = min(0.3, (1 + age) / (10 + age))
            expected = decay * expected + (1 - decay) * after[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-7)
        assert torch.equal(tensor, last[name]) == name.startswith("image_encoder.")


def test_goes_on_to_the_bit_after_an_interruption(tiny: ModuleType, tmp_path: Path) -> None:
    ema = EMAConfig(decay=0.3)
    whole = run(tiny, tmp_path / "whole", ema)
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "stopped", ema, (tiny.SignalAt(3, signal.SIGTERM),))
    again = run(tiny, tmp_path / "stopped", ema)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
