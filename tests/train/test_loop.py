from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mm1.train.loop import LoopConfig, StepInfo, normalise_gradients, train
from mm1.train.optimizer import OptimizerConfig, Optimizers
from mm1.train.state import TrainState
from mm1.types import IGNORE, Batch, Losses

CPU = torch.device("cpu")


def batch(targets: list[list[int]]) -> Batch:
    """Rows whose tokens are their targets; IGNORE where there is none."""
    wanted = torch.tensor(targets)
    shape = torch.zeros_like(wanted)
    none = torch.zeros(0, dtype=torch.int64)
    return Batch(
        tokens=wanted.clamp(min=0),
        positions=shape,
        segment_ids=torch.where(wanted == IGNORE, -1, 0),
        image_index=shape - 1,
        targets=wanted,
        target_index=(wanted.flatten() != IGNORE).nonzero().flatten(),
        source_ids=shape,
        images=torch.zeros(0, 3, 1, 1, dtype=torch.uint8),
        image_rows=none,
        image_segments=none,
        image_seeds=none,
        source_names=("only",),
    )


def squares(model: nn.Module, given: Batch) -> Losses:
    """Sum over targets t of (w - t)²."""
    errors = model.weight - given.targets.flatten()[given.target_index].float()
    total, count = errors.square().sum(), torch.tensor(float(errors.numel()))
    return Losses(total=total, count=count, source_totals=total.detach()[None], source_counts=count[None])


class One(nn.Module):
    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))


class Seen:
    def __init__(self) -> None:
        self.infos: list[StepInfo] = []

    def on_step(self, info: StepInfo) -> None:
        self.infos.append(info)


def setup(**changes: Any) -> tuple[TrainState, LoopConfig]:
    model = One()
    state = TrainState(model, Optimizers(model, OptimizerConfig(learning_rate=0.1, weight_decay=0.0)))
    config = LoopConfig(
        steps=1,
        learning_rate=0.1,
        factor=lambda step: 1.0,
        microbatches=1,
        max_grad_norm=1e9,
        device=CPU,
        autocast=contextlib.nullcontext,
    )
    return state, replace(config, **changes)


def test_the_gradient_is_of_the_mean_over_all_targets_however_they_lie_in_microbatches() -> None:
    state, config = setup(microbatches=2)
    seen = Seen()
    uneven = batch([[1, IGNORE, IGNORE], [2, 3, 6]])
    train(state, squares, iter([uneven]), config, [seen])
    # The mean of the rows' means would give 2 · (1 + 11 / 3) / 2.
    assert float(seen.infos[0].grad_norm) == pytest.approx(2 * (1 + 2 + 3 + 6) / 4)
    assert state.tally.read()["loss"] == 1 + 4 + 9 + 36
    assert state.tally.read()["tokens"] == state.tally.read()["targets"] == 4


def test_a_step_with_gradients_that_are_not_finite_changes_nothing_and_is_counted() -> None:
    state, config = setup(steps=3)
    seen = Seen()

    def infinite_once(model: nn.Module, given: Batch) -> Losses:
        losses = squares(model, given)
        return replace(losses, total=losses.total * float("inf")) if state.step == 1 else losses

    weights: list[float] = []

    class Recorder:
        def on_step(self, info: StepInfo) -> None:
            weights.append(info.state.model.weight.item())

    train(state, infinite_once, iter([batch([[4]])] * 3), config, [seen, Recorder()])
    assert weights[0] == weights[1] != weights[2]
    assert state.skipped == 1
    assert state.tally.read()["microbatches"] == 2
    assert not seen.infos[1].grad_norm.isfinite()


def test_auxiliary_terms_move_the_weights_and_stay_out_of_the_logged_loss() -> None:
    def with_auxiliary(model: nn.Module, given: Batch) -> Losses:
        losses = squares(model, given)
        return replace(losses, total=losses.total + losses.count * 5 * (1 + model.weight.sum()))

    state, config = setup()
    seen = Seen()
    train(state, with_auxiliary, iter([batch([[1, 2], [3, IGNORE]])]), config, [seen])
    assert float(seen.infos[0].grad_norm) == pytest.approx(5 - 2 * (1 + 2 + 3) / 3)
    assert state.tally.read()["loss"] == 1 + 4 + 9


def test_no_targets_at_all_is_a_gradient_of_zero() -> None:
    state, config = setup()
    train(state, squares, iter([batch([[IGNORE]])]), config)
    assert state.model.weight.item() == 0.0
    assert state.skipped == 0


def test_gradients_are_clipped_to_the_norm_of_the_whole() -> None:
    a, b = torch.zeros(2), torch.zeros(1)
    a.grad, b.grad = torch.tensor([6.0, 0.0]), torch.tensor([8.0])
    assert float(normalise_gradients([a, b], torch.tensor(2.0), max_norm=1.0)) == pytest.approx(5.0)
    assert torch.cat([a.grad, b.grad]).tolist() == pytest.approx([0.6, 0.0, 0.8], rel=1e-5)
    assert float(normalise_gradients([a, b], torch.tensor(2.0), max_norm=1.0)) == pytest.approx(0.5)
    assert torch.cat([a.grad, b.grad]).tolist() == pytest.approx([0.3, 0.0, 0.4], rel=1e-5)


def test_a_parameter_outside_the_graph_is_an_error_rather_than_a_hang() -> None:
    with pytest.raises(AssertionError, match="outside the graph"):
        normalise_gradients([torch.zeros(1)], torch.tensor(1.0), 1.0)


def test_goes_on_from_the_states_step_and_tells_hooks_of_each_step() -> None:
    state, config = setup(steps=5, factor=lambda step: step / 10)
    state.step = 2
    seen = Seen()
    train(state, squares, iter([batch([[1]])] * 3), config, [seen])
    assert [info.step for info in seen.infos] == [3, 4, 5]
    assert [info.learning_rate for info in seen.infos] == pytest.approx([0.02, 0.03, 0.04])
    assert [info.is_last for info in seen.infos] == [False, False, True]


def test_the_host_reads_nothing_from_the_device_in_a_step() -> None:
    """Tensors on the meta device have no values, so reading one raises."""
    model = nn.ModuleDict({"part": nn.ModuleDict({"blocks": nn.Linear(4, 4, bias=False, device="meta")})})
    state = TrainState(model, Optimizers(model, OptimizerConfig(kind="muon")))
    _, config = setup(steps=2, device=torch.device("meta"))

    def squares_on_meta(model: nn.Module, given: Batch) -> Losses:
        assert given.tokens.is_meta
        total, count = model["part"]["blocks"].weight.square().sum(), torch.ones((), device="meta")  # type: ignore[index]
        return Losses(total=total, count=count, source_totals=total.detach()[None], source_counts=count[None])

    train(state, squares_on_meta, iter([batch([[1, 2], [3, IGNORE]])] * 2), config)
    assert state.step == 2
    with pytest.raises(RuntimeError, match=r"meta|item"):
        state.tally.read()
