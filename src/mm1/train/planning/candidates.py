"""Every way in which a stage can be trained on so many devices: what is searched for the fastest that fits.

    replicate × shard = devices        experts divides shard       microbatch_rows divides a device's rows

    for stage in candidates(stage, devices=64): stage.parallel, stage.microbatch_rows

`microbatch_rows` is kept where the stage says it. Blocks are compiled; `gather_precision` and `reshard_after_forward`
stay at their defaults. Knows nothing of what a layout costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from mm1.config import UserError
from mm1.models.mm1 import MM1Config
from mm1.train.layout import Checkpointing, ParallelConfig
from mm1.train.stage import StageConfig

MOST_ROWS = 64
"""Of a microbatch: beyond, products are no faster."""


def candidates(stage: StageConfig, devices: int) -> Iterator[StageConfig]:
    """`stage` in every layout of `devices`, among which its rows can be shared; the fewest rows at once come first."""
    each = stage.data.rows // devices
    wanted = [one for one in _divisors(each) if one <= MOST_ROWS]
    for rows in wanted if stage.microbatch_rows is None else [stage.microbatch_rows]:
        for parallel in layouts(stage, devices):
            yield stage.replace(microbatch_rows=rows, parallel=parallel)


def layouts(stage: StageConfig, devices: int) -> Iterator[ParallelConfig]:
    """Those that have a place for every device and every expert."""
    assert isinstance(stage.model, MM1Config)
    decoder = stage.model.decoder
    for shard in _divisors(devices):
        for experts in _divisors(decoder.moe.num_experts) if decoder.moe is not None else [1]:
            for checkpointing in get_args(Checkpointing):
                layout = ParallelConfig(
                    replicate=devices // shard,
                    shard=shard,
                    experts=experts,
                    activation_checkpointing=checkpointing,
                    compile=True,
                )
                try:
                    layout.check(devices, decoder)
                except UserError:
                    continue
                yield layout


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]
