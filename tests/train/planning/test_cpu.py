from __future__ import annotations

import math

import pytest
import torch

from mm1.config import UserError
from mm1.train.layout import ParallelConfig
from mm1.train.planning.calibrate import Kernels
from mm1.train.planning.cpu import make_cpu_plan
from mm1.train.planning.trace import Operation, Shape
from tests.train.tiny import stage

MODES = ("none", "selective", "full")


def product(side: int) -> Operation:
    shape = Shape((side, side), (side, 1), torch.float32)
    call, arguments = torch.ops.aten.mm.default, ((shape, shape), {})
    return Operation(
        kind="product", flops=2 * side**3, bytes=12 * side**2, result=4 * side**2, float32=True, call=call,
        arguments=arguments,
    )  # fmt: skip


def test_kernels_are_run_once_and_larger_ones_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = Kernels()
    small, large = kernels._of(product(32)), kernels._of(product(512))
    assert 0 < small < large
    monkeypatch.setattr(kernels, "_measured", lambda operation: math.nan)
    assert kernels._of(product(512)) == large


def test_rows_of_experts_are_shared_equally() -> None:
    rows, weight = Shape((6, 16), (16, 1), torch.float32), Shape((3, 16, 32), (512, 32, 1), torch.float32)
    ends = Shape((3,), (1,), torch.int32)
    seen = []

    def call(rows: torch.Tensor, weight: torch.Tensor, offs: torch.Tensor) -> None:
        seen.append((rows.shape, weight.shape, offs.tolist()))

    call.__name__ = call.__qualname__ = "grouped_mm"
    operation = Operation(
        kind="product", flops=1, bytes=1, result=1, float32=True, call=call, arguments=((rows, weight), {"offs": ends})
    )
    Kernels()._measured(operation)
    assert seen[0] == ((6, 16), (3, 16, 32), [2, 4, 6])


@pytest.mark.parametrize("model", ["mm1", "moe"])
def test_a_plan_of_this_machine_adds_up(model: str) -> None:
    plan = make_cpu_plan(stage(model))
    values = plan.to_json()
    assert plan.fits
    assert plan.accumulation == 1
    assert 0 < values["step_seconds"] == pytest.approx(sum(plan.time.seconds.values()))
    assert values["memory_per_gpu_gb"] == pytest.approx(sum(values["layout"]["memory_gb"].values()))
    assert sum(values["layout"]["communication_gb"].values()) == 0


def test_microbatches_take_less_memory_but_hold_gradients() -> None:
    whole, parts = (make_cpu_plan(stage("mm1", microbatch_rows=rows)) for rows in (4, 1))
    assert parts.memory.parts["activations"] < 0.3 * whole.memory.parts["activations"]
    assert parts.memory.parts["gradients"] == parts.memory.parts["weights"]


def test_one_process_only() -> None:
    with pytest.raises(UserError, match="make them equal"):
        make_cpu_plan(stage("mm1", parallel=ParallelConfig(shard=2)))
    with pytest.raises(UserError, match=r"parallel.compile=true"):
        make_cpu_plan(stage("mm1", parallel=ParallelConfig(compile=True)))


def test_what_is_computed_twice_takes_time() -> None:
    plans = [make_cpu_plan(stage("mm1", parallel=ParallelConfig(activation_checkpointing=how))) for how in MODES]
    again = [plan.time.seconds["recompute"] for plan in plans]
    assert again[0] == 0 < again[1] < again[2]
    assert plans[0].memory.parts["activations"] > plans[2].memory.parts["activations"]
