from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mm1.config import UserError
from mm1.train import state as state_module
from mm1.train.checkpoints import StopSignal
from mm1.train.hooks import MetricsLog, PlanFile, truncate_log
from mm1.train.loop import StepInfo
from mm1.train.progress import Nothing
from mm1.train.state import Tally, TrainState
from mm1.types import Batch, Losses

FLOPS = (("decoder", 5), ("total", 7))
NO_IMAGES = torch.zeros(0, dtype=torch.int64)


def batch(padding: int, sources: tuple[str, ...] = ("a", "b")) -> Batch:
    segments = torch.zeros(2, 4, dtype=torch.int64)
    segments[0, 4 - padding :] = -1
    return Batch(
        tokens=segments,
        positions=segments,
        segment_ids=segments,
        image_index=segments,
        targets=segments,
        target_index=NO_IMAGES,
        source_ids=segments,
        images=torch.zeros(3, 3, 1, 1, dtype=torch.uint8),
        image_rows=NO_IMAGES,
        image_segments=NO_IMAGES,
        image_seeds=NO_IMAGES,
        source_names=sources,
    )


def losses(a: float, b: float, accuracy: float) -> Losses:
    """4 targets of source a and 2 of b, with these means."""
    return Losses(
        total=torch.tensor(4 * a + 2 * b),
        count=torch.tensor(6.0),
        source_totals=torch.tensor([4 * a, 2 * b]),
        source_counts=torch.tensor([4.0, 2.0]),
        extra={"accuracy": torch.tensor(accuracy)},
    )


def state() -> TrainState:
    optimizers: Any = SimpleNamespace(parameters=[torch.zeros(())])
    return TrainState(torch.nn.Identity(), optimizers)


def info(state: TrainState, step: int, steps: int = 5, norm: float = 1.0) -> StepInfo:
    return StepInfo(state=state, step=step, steps=steps, learning_rate=0.1, grad_norm=torch.tensor(norm))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_to(path: Path, every: int = 2, max_skipped: int = 3) -> MetricsLog:
    return MetricsLog(path, every=every, display=Nothing(), max_skipped=max_skipped)


def test_losses_are_means_since_the_line_before_and_counts_are_cumulative(tmp_path: Path) -> None:
    path, ours = tmp_path / "metrics.jsonl", state()
    log = log_to(path)
    for step, (a, b, accuracy, padding) in enumerate([(1, 4, 0.5, 0), (3, 4, 0.7, 4), (9, 9, 0.9, 1)], start=1):
        ours.tally.add(losses(a, b, accuracy), batch(padding))
        ours.step = step
        log.on_step(info(ours, step, steps=3))
    first, last = lines(path)
    assert (first["step"], last["step"]) == (2, 3)
    assert [(line["learning_rate"], line["grad_norm"]) for line in (first, last)] == [(0.1, 1.0)] * 2
    assert first["loss_by_source"] == {"a": 2.0, "b": 4.0}
    assert first["loss"] == pytest.approx((4 * 1 + 4 * 3 + 2 * 4 * 2) / 12)
    assert first["accuracy"] == pytest.approx(0.6)
    assert first["padding"] == pytest.approx(4 / 16)
    assert last["loss"] == pytest.approx(9.0)
    assert last["accuracy"] == pytest.approx(0.9)
    assert last["padding"] == pytest.approx(1 / 8)
    assert last["target_tokens_by_source"] == {"a": 12, "b": 6}
    assert (last["target_tokens"], last["tokens"], last["images"]) == (18, 19, 9)


def test_a_source_without_targets_has_no_loss_and_nan_is_null(tmp_path: Path) -> None:
    path, ours = tmp_path / "metrics.jsonl", state()
    silent = Losses(
        total=torch.tensor(float("nan")),
        count=torch.tensor(4.0),
        source_totals=torch.tensor([float("nan"), 0.0]),
        source_counts=torch.tensor([4.0, 0.0]),
    )
    ours.tally.add(silent, batch(0))
    log_to(path, every=1).on_step(info(ours, 1, norm=float("inf")))
    (line,) = lines(path)
    assert line["loss"] is None
    assert line["grad_norm"] is None
    assert "b" not in line["loss_by_source"]


def test_a_step_that_was_not_finite_spoils_no_later_line(tmp_path: Path) -> None:
    path, ours = tmp_path / "metrics.jsonl", state()
    log = log_to(path, every=1)
    nan = float("nan")
    for step, (a, b, accuracy) in enumerate([(1, 4, 0.5), (nan, 4, nan), (3, 2, 0.7)], start=1):
        ours.tally.add(losses(a, b, accuracy), batch(0))
        ours.step = step
        log.on_step(info(ours, step, steps=3))
    ours.tally.add(losses(float("inf"), 1, 0.1), batch(0))
    ours.tally.add(losses(5, 2, 0.9), batch(0))
    log.on_step(info(ours, 4, steps=4))
    _, second, third, fourth = lines(path)
    assert (second["loss"], second["accuracy"], second["loss_by_source"]) == (None, None, {})
    assert (third["loss"], third["loss_by_source"]) == (pytest.approx(16 / 6), {"a": 3.0, "b": 2.0})
    assert third["accuracy"] == pytest.approx(0.7)
    assert fourth["loss"] == pytest.approx(24 / 6)  # the mean over the targets that were finite, not over all
    assert fourth["accuracy"] == pytest.approx(0.9)
    assert (fourth["target_tokens"], fourth["tokens"]) == (18, 40)


def test_too_many_skipped_steps_stop_the_run_with_a_sentence_and_after_its_line(tmp_path: Path) -> None:
    path, ours = tmp_path / "metrics.jsonl", state()
    told: list[Any] = []
    log = MetricsLog(path, every=2, display=Nothing(), max_skipped=3, track=told.append)
    for step in (1, 2, 3):
        ours.tally.add(losses(1, 1, 1), batch(0))
        ours.skipped += step % 2 * 2
        if step < 3:
            log.on_step(info(ours, step, steps=9))
    ours.skipped -= 1  # as many as are allowed
    log.on_step(info(ours, 4))
    ours.tally.add(losses(1, 1, 1), batch(0))
    ours.skipped += 1
    with pytest.raises(UserError, match=r"^4 of 5 steps.*3 that max_skipped_steps.*lower optimizer.learning_rate$"):
        log.on_step(info(ours, 5))
    assert [line["skipped_steps"] for line in lines(path)] == [2, 3, 4]
    assert told == lines(path)


class Seen(Nothing):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.shown: list[tuple[Any, Any]] = []
        self.advanced: list[int] = []

    def show(self, record: Any, since: Any) -> None:
        assert record["step"] not in self.advanced
        self.shown.append((record, since))

    def advance(self, step: int) -> None:
        self.advanced.append(step)


def test_speeds_are_those_since_the_line_before_though_a_checkpoint_lies_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step waits a second for data and computes for three; the start before the first takes 100, as the second
    start does, which comes a step after a line.
    """
    now, path = [0.0], tmp_path / "metrics.jsonl"
    monkeypatch.setattr(state_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    speed: Any = SimpleNamespace(
        flops=lambda totals: {"decoder": 5 * totals["tokens"], "total": 7 * totals["tokens"]},
        mfu=lambda flops, seconds: flops / seconds / 100,
    )
    ours, display = state(), Seen()

    def steps(first: int, last: int) -> None:
        now[0] += 100.0
        log = MetricsLog(path, every=2, display=display, max_skipped=3, speed=speed)
        for step in range(first, last + 1):
            for kind, seconds in (("data", 1.0), ("compute", 3.0)):
                with ours.clock.measure(kind):
                    now[0] += seconds
            ours.tally.add(losses(1, 1, 1), batch(step % 4))
            ours.tally.add_pause(step / 2)
            log.on_step(info(ours, step, steps=6))

    steps(1, 3)
    values = ours.values()
    ours = state()
    ours.restore(3, values)
    steps(4, 6)
    assert display.advanced == [1, 2, 3, 4, 5, 6]
    assert [record for record, _ in display.shown] == lines(path)
    second = lines(path)[1]
    tokens = [8 - step % 4 for step in range(1, 7)]
    assert (second["seconds"], second["time"]["data"], second["time"]["compute"]) == (16.0, 4.0, 12.0)
    assert (second["tokens"], second["flops"]) == (sum(tokens[:4]), {n: k * sum(tokens[:4]) for n, k in FLOPS})
    assert second["flops_per_second"] == 7 * sum(tokens[2:4]) / 8
    assert second["mfu"] == second["flops_per_second"] / 100
    assert second["data_pauses"] == 1.5 + 2.0
    for (_, since), passed in zip(display.shown, (tokens[:2], tokens[2:4], tokens[4:]), strict=True):
        assert {name: since[name] for name in ("steps", "seconds", "waited")} == {"steps": 2, "seconds": 8, "waited": 2}
        assert since["tokens"] == sum(passed)


def test_other_ranks_write_nothing() -> None:
    ours = state()
    ours.tally.add(losses(1, 1, 1), batch(0))
    MetricsLog(None, every=1, display=Nothing(), max_skipped=0).on_step(info(ours, 1))
    assert ours.logged["targets"] == 6


def test_totals_survive_a_restart() -> None:
    ours = Tally()
    ours.add(losses(1, 2, 0.5), batch(0))
    again = Tally(ours.read())
    assert again.read() == ours.read()
    for tally in (ours, again):
        tally.add(losses(3, 4, 0.7), batch(1))
    assert again.read() == pytest.approx(ours.read())


def test_the_log_is_cut_after_the_checkpoints_step_and_torn_lines_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    truncate_log(path, 3)
    assert not path.exists()
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st')
    truncate_log(path, 9)
    assert [line["step"] for line in lines(path)] == [2, 4, 6]
    truncate_log(path, 4)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'
    truncate_log(path, 0)
    assert path.read_text() == ""


class Usual(Exception):
    """What a signal does usually, here."""


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    def usual(*_: object) -> None:
        raise Usual

    before = signal.signal(request.param, usual)
    yield request.param
    assert signal.getsignal(request.param) is usual
    signal.signal(request.param, before)


def stage_that_gets(number: signal.Signals, then: Callable[[StopSignal], None] = lambda stop: None) -> None:
    """A signal after its first step."""
    with StopSignal().listening() as stop:
        stop.on_step(info(state(), 1))
        assert not stop.is_set
        os.kill(os.getpid(), number)
        assert stop.is_set
        then(stop)


def test_a_signal_is_noted_and_a_second_one_has_its_usual_effect(number: signal.Signals) -> None:
    def second(stop: StopSignal) -> None:
        with pytest.raises(Usual):
            os.kill(os.getpid(), number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage_that_gets(number, second)


def test_before_the_first_step_a_signal_has_its_usual_effect(number: signal.Signals) -> None:
    with StopSignal().listening(), pytest.raises(Usual):
        os.kill(os.getpid(), number)


def test_a_signal_that_nobody_acted_on_has_its_usual_effect_in_the_end(number: signal.Signals) -> None:
    """It came while weights were written: what follows must not begin."""
    seen: list[StopSignal] = []
    with pytest.raises(Usual):
        stage_that_gets(number, seen.append)
    assert seen


def test_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with StopSignal().listening() as stop:
            stop.on_step(info(state(), 1))
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_plan_is_kept_at_checkpoints_steps_and_one_that_cannot_be_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    asked: list[Path] = []
    ours = state()

    class Plan:
        def save(self, folder: Path) -> None:
            asked.append(folder)
            if len(asked) < 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plan: Any = Plan()
    hooks = [PlanFile(folder, plan, every=2, say=said.append) for folder in (tmp_path, None)]
    for step in range(1, 8):
        for hook in hooks:
            hook.on_step(info(ours, step, steps=9))
    assert asked == [tmp_path] * 3
    assert [("could not" in line, "No space left" in line) for line in said] == [(True, True), (False, False)]
    assert {kind for kind, seconds in ours.clock.seconds.items() if seconds} == {"checkpoint"}
