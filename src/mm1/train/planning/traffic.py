"""What one device sends in a step, by kind of collective, and how long that takes.

    all_gather       weights of each block, forward and backward, every microbatch; all else once   ┐ over `shard`
    reduce_scatter   their gradients, every microbatch                                              ┘
    all_reduce       a share's gradients over `replicate`, once
    all_to_all       tokens to their experts and back, forward and backward, over `experts`

Of a ring of n devices each sends (n - 1) / n of what is gathered or reduced. A ring inside a node runs at the speed of
its links; one over nodes at that of all the node's network cards together, which share its work, and it waits for every
node. Devices of a shard stand side by side, copies stand apart. Knows nothing of computing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mm1.train.layout import ParallelConfig
from mm1.train.planning.hardware import SHARES, Hardware
from mm1.train.planning.pieces import FLOAT32, Piece, TraceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one device and step."""

    bytes: dict[str, float]
    """Sent, by kind."""
    seconds: dict[str, float]
    """By kind, each as if it were alone."""


def traffic(
    pieces: Sequence[Piece],
    parallel: ParallelConfig,
    devices: int,
    trace: TraceConfig,
    *,
    accumulation: int,
    hardware: Hardware,
) -> Traffic:
    """Of a step of `accumulation` microbatches, on whose rows `pieces` were traced as `trace`."""
    shard, units = parallel.shards(devices), sum(piece.repeats if piece.is_block else 1 for piece in pieces)
    gathers, reductions = _times(parallel, accumulation)
    sent = _sent(pieces, parallel, devices, trace, accumulation)
    inside, apart = _speed(shard, hardware), _apart(parallel, devices, hardware)
    links = {
        "all_gather": inside,
        "reduce_scatter": inside,
        "all_reduce": apart,
        "all_to_all": hardware.link if parallel.experts <= hardware.per_node else hardware.network,
    }
    hops = {
        "all_gather": gathers * units * _nodes(shard, hardware) * (shard > 1),
        "reduce_scatter": reductions * units * _nodes(shard, hardware) * (shard > 1),
        "all_reduce": 2 * units * parallel.replicate * (parallel.replicate > 1),
        "all_to_all": 0,
    }
    seconds = {kind: size / (links[kind] * SHARES.links) + hops[kind] * SHARES.hop for kind, size in sent.items()}
    return Traffic(bytes=sent, seconds=seconds)


def _times(parallel: ParallelConfig, accumulation: int) -> tuple[int, int]:
    """How often in a step a block is gathered, and its gradients are summed over a shard."""
    gathers = 2 * accumulation if parallel.reshard_after_forward else 1
    return gathers, accumulation if parallel.reduce_gradients == "each" else 1


def _sent(
    pieces: Sequence[Piece], parallel: ParallelConfig, devices: int, trace: TraceConfig, accumulation: int
) -> dict[str, float]:
    """Bytes that a device sends in a step, by kind."""
    shard, (gathers, reductions) = parallel.shards(devices), _times(parallel, accumulation)
    sent = dict.fromkeys(("all_gather", "reduce_scatter", "all_reduce", "all_to_all"), 0.0)
    for piece in pieces:
        dense, experts = piece.parameters - piece.experts, piece.experts / parallel.experts
        elsewhere = piece.repeats * (dense * _ring(shard) + experts * _ring(shard // parallel.experts))
        moving = piece.trained / max(1, piece.parameters)
        # What belongs to no block stays gathered through the step.
        sent["all_gather"] += (gathers * trace.gathered_bytes if piece.is_block else FLOAT32) * elsewhere
        sent["reduce_scatter"] += reductions * FLOAT32 * elsewhere * moving
        sent["all_reduce"] += piece.repeats * FLOAT32 * 2 * _ring(parallel.replicate) * piece.trained / shard
        rows = accumulation * piece.repeats * piece.sent_rows
        sent["all_to_all"] += parallel.all_to_all_bytes(rows, piece.width, trace.number_bytes)
    return sent


def _ring(devices: int) -> float:
    return (devices - 1) / devices


def _nodes(devices: int, hardware: Hardware) -> int:
    return -(-devices // hardware.per_node)


def _speed(devices: int, hardware: Hardware) -> float:
    """Of a ring of devices that stand side by side."""
    over_nodes = hardware.per_node * hardware.network
    return hardware.link if devices <= hardware.per_node else min(hardware.link, over_nodes)


def _apart(parallel: ParallelConfig, devices: int, hardware: Hardware) -> float:
    """Of a ring of copies: their shares use the node's cards side by side."""
    if devices <= hardware.per_node:
        return hardware.link
    beside = min(parallel.shards(devices), hardware.per_node)
    return min(hardware.link, hardware.network * hardware.per_node / beside)
