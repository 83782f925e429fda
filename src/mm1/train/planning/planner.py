"""Makes plans: of a stage in its own layout, or in the fastest that fits.

    plan = make_plan(recipe.stage("pretrain"), devices=64, gpu="h100")
    plan.fits, plan.step_seconds, plan.days, plan.parallel, plan.microbatch_rows

Every row is taken to be full, as in `costs.py`: real data has fewer images and shorter documents, and takes less. All
assumptions of speed and of memory are in `hardware.SHARES`. Knows nothing of recipes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from itertools import groupby

from mm1.config import UserError
from mm1.models.mm1 import MM1Config
from mm1.train.costs import factors_of, flops_per_sequence, images_per_sequence, parameters, tokens_per_step
from mm1.train.layout import ParallelConfig
from mm1.train.planning.candidates import candidates
from mm1.train.planning.cut import cut
from mm1.train.planning.hardware import SHARES, Hardware, find
from mm1.train.planning.memory import Memory, memory, reserve
from mm1.train.planning.pieces import FLOAT32, Piece, TraceConfig
from mm1.train.planning.plan import GIGA, Plan
from mm1.train.planning.timing import StepTime, computed_again, step_time
from mm1.train.planning.traffic import Traffic, traffic
from mm1.train.stage import StageConfig

AS_FAST, AS_LITTLE_SENT, AS_LITTLE_HELD = 1.02, 1.25, 1.05
"""Times the least: layouts up to there are taken for equal in seconds a step, seconds of traffic, bytes of memory."""
MOST_DEVICES = 1_000_000
SINGLE_BLOCK = re.compile(r"\.blocks\.\d")


def make_plan(stage: StageConfig, devices: int, gpu: str = "h100", *, mfu: float | None = None) -> Plan:
    """The plan of `stage` as it says it is to be spread; where it leaves that open, of the fastest layout that fits.

    A stage says so if anything in its `parallel` is no default: then that layout is planned and no other. Otherwise
    layouts are searched, with the stage's `microbatch_rows` if it has some. Where none fits, the plan is of that which
    misses by the least.

    Args:
        stage: what is trained.
        devices: how many.
        gpu: which, by its name in `HARDWARE`.
        mfu: the share of the peak that computing reaches, in place of what is assumed of each kernel.

    Raises:
        UserError: an unknown device, a layout that has no place for all devices, rows or experts, a stage that is no
            next-token stage.
    """
    planner = Planner(stage, find(gpu), devices, mfu)
    if not planner.searches:
        return planner.plan(stage, devices)
    plans: list[Plan] = []
    for _, same_rows in groupby(candidates(stage, planner.at_work), lambda one: one.microbatch_rows):
        plans += (found := [planner.plan(one, planner.at_work) for one in same_rows])
        if all(one.memory.total > one.usable for one in found):
            break  # more rows take more
    return best_of(plans)


def best_of(plans: list[Plan]) -> Plan:
    """The fastest whose memory suffices, or that which takes the least memory.

    Of those as fast, one that sends little, and of these one that takes little memory: what hides and what fits is
    known less well than what is computed.
    """
    fitting = [one for one in plans if one.memory.total <= one.usable]
    if not fitting:
        return min(plans, key=_held)
    as_fast = _near(fitting, lambda one: one.step_seconds, AS_FAST)
    return min(_near(_near(as_fast, _sent, AS_LITTLE_SENT), _held, AS_LITTLE_HELD), key=_sent)


def _near(plans: list[Plan], measure: Callable[[Plan], float], factor: float) -> list[Plan]:
    """Those with at most `factor` times the least."""
    most = factor * min(map(measure, plans))
    return [one for one in plans if measure(one) <= most]


def _held(plan: Plan) -> float:
    return plan.memory.total


def _sent(plan: Plan) -> float:
    return sum(plan.traffic.seconds.values())


class Planner:
    """Plans of one stage on one kind of device."""

    fused_attention = True

    def __init__(self, stage: StageConfig, hardware: Hardware, asked: int, mfu: float | None = None) -> None:
        """`asked` is the number of devices; not all of them may be able to share the rows of a batch."""
        if not isinstance(stage.model, MM1Config):
            raise UserError(
                f"a plan is for stages that train model.kind=mm1, not {stage.model.kind}: choose another --stage"
            )
        if not 1 <= asked <= MOST_DEVICES:
            raise UserError(f"--gpus is {asked}: give 1 to {MOST_DEVICES:,}")
        if single := [prefix for prefix in stage.optimizer.frozen if SINGLE_BLOCK.search(prefix)]:
            raise UserError(
                f"optimizer.frozen has '{single[0]}', but a plan takes all blocks of a part to be alike: freeze all or "
                "none"
            )
        self.stage, self.hardware, self._asked, self._mfu = stage, hardware, asked, mfu
        self.searches = stage.parallel == ParallelConfig()
        self.at_work = next(one for one in range(min(asked, stage.data.rows), 0, -1) if stage.data.rows % one == 0)
        """Devices that can share the rows."""
        self.bf16 = stage.precision != "fp32"
        self._usable = SHARES.usable * hardware.memory
        self._parameters = parameters(stage)
        self._flops, self._factors = flops_per_sequence(stage), factors_of(stage)

    @functools.cache  # noqa: B019 (a planner lives as long as its plans are made)
    def _pieces(self, rows: int, trace: TraceConfig) -> list[Piece]:
        return cut(self.stage, rows, trace)

    def reserved(self, needed: Memory, parallel: ParallelConfig, devices: int) -> float:
        """Bytes that are no tensor's."""
        return reserve(needed, parallel, devices)

    def time(self, stage: StageConfig, devices: int, pieces: list[Piece], travels: Traffic) -> StepTime:
        """Of a step."""
        return step_time(
            stage, pieces, devices, travels, self.hardware,
            flops=self._flops, factors=self._factors, bf16=self.bf16, mfu=self._mfu,
        )  # fmt: skip

    def plan(self, stage: StageConfig, devices: int) -> Plan:
        """Of the planner's stage on `devices`, spread as `stage` says.

        Raises:
            UserError: there is no such layout of so many.
        """
        stage.check_layout(devices)
        rows, parallel = stage.rows_at_once(devices), stage.parallel
        accumulation = stage.data.rows // devices // rows
        halved = self.bf16 and parallel.gather_precision == "auto" and devices > 1
        trace = TraceConfig(bf16=self.bf16, working_copy=halved, fused_attention=self.fused_attention)
        pieces, batch = self._pieces(rows, trace), batch_bytes(stage, rows)
        needed = memory(pieces, parallel, devices, trace, accumulation=accumulation, batch=batch)
        needed.parts["reserve"] = self.reserved(needed, parallel, devices)
        trainable = sum(piece.trained * piece.repeats for piece in pieces)
        if stage.ema is not None:
            needed.parts["average"] = FLOAT32 * trainable / parallel.shards(devices)
        travels = traffic(pieces, parallel, devices, trace, accumulation=accumulation, hardware=self.hardware)
        return Plan(
            parameters={**self._parameters, "trainable": trainable},
            flops=self._flops,
            gpu=self.hardware.name,
            asked=self._asked,
            devices=devices,
            capacity=self.hardware.memory,
            usable=self._usable,
            parallel=parallel.replace(shard=parallel.shards(devices)),
            microbatch_rows=rows,
            accumulation=accumulation,
            memory=needed,
            traffic=travels,
            time=self.time(stage, devices, pieces, travels),
            recomputed_flops=sum(
                self._flops[part] * share for part, share in computed_again(pieces, parallel, self._factors).items()
            ),
            tokens_per_step=tokens_per_step(stage),
            steps=stage.steps,
            seq_len=stage.data.seq_len,
            images_per_sequence=images_per_sequence(stage),
            peak_flops=self.hardware.products if self.bf16 else self.hardware.float32_products,
            miss=self._miss(devices, needed),
        )

    def _miss(self, devices: int, needed: Memory) -> str:
        rows, asked, name = self.stage.data.rows, self._asked, self.hardware.name
        reasons = []
        if devices < asked:
            reasons.append(
                f"the {rows} data.rows of a step cannot be shared equally by {asked} GPUs: take {devices} GPUs, or set "
                f"data.rows to a multiple of {asked}, which is another batch size"
            )
        if needed.total > self._usable:
            which = "the layout that needs least" if self.searches else "this layout"
            what = "take more GPUs, or ones with more memory" + ("" if self.searches else ", or leave parallel.* out")
            sizes = (
                f"{needed.total / GIGA:.3g} GB, but a plan may take {self._usable / GIGA:.3g} of the "
                f"{self.hardware.memory / GIGA:.3g} of {name}"
            )
            reasons.append(f"{which} takes {sizes}: {what}")
        return "; and ".join(reasons)


def batch_bytes(stage: StageConfig, rows: int) -> int:
    """Of a batch: seven integers a position, the pixels of its images."""
    pixels = 3 * stage.data.image_size**2 * images_per_sequence(stage)
    return rows * (7 * 8 * stage.data.seq_len + pixels)
