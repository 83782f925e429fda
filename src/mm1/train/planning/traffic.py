"""What one device sends in a step, by kind of collective, and how long that takes.

    all_gather       weights of each unit, forward and backward, every microbatch       ┐ over `shard`
    reduce_scatter   their gradients, every microbatch                                   ┘
    all_reduce       a share's gradients over `replicate`, every microbatch
    all_to_all       tokens to their experts and back, forward and backward, over `experts`

Of a ring of n devices each sends (n - 1) / n of what is gathered or reduced. A ring inside a node runs at the speed of
its links; one over nodes at that of all the node's network cards together, which share its work, and it waits for every
node. Devices of a shard stand side by side, copies stand apart. Knows nothing of computing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mm1.train.planning.hardware import SHARES, Hardware
from mm1.train.planning.layout import Layout
from mm1.train.planning.memory import FLOAT32, WORKING
from mm1.train.planning.pieces import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one device and step."""

    bytes: dict[str, float]
    """Sent, by kind."""
    seconds: dict[str, float]
    """By kind, each as if it were alone."""


def traffic(pieces: Sequence[Piece], layout: Layout, accumulation: int, hardware: Hardware) -> Traffic:
    """Of a step of `accumulation` microbatches."""
    shard, experts_over = layout.shard, layout.shard // layout.experts
    gathered = reduced = summed = sent = 0.0
    collectives = 0
    for piece in pieces:
        dense, experts = piece.parameters - piece.experts, piece.experts / layout.experts
        each = WORKING if piece.part == "image_encoder" or piece.is_block else FLOAT32
        times = 2 if each == WORKING else 1  # what stays gathered is not gathered again
        whole = dense * _ring(shard) + experts * _ring(experts_over)
        gathered += piece.repeats * times * each * whole
        reduced += piece.repeats * FLOAT32 * whole * piece.trained / max(1, piece.parameters)
        summed += piece.repeats * FLOAT32 * 2 * _ring(layout.replicate) * piece.trained / shard
        there_and_back, recomputed = 2 * 2, 2 if layout.activation_checkpointing == "full" else 0
        rows = piece.repeats * piece.sent_rows * piece.width * WORKING
        sent += rows * (there_and_back + recomputed) * _ring(layout.experts)
        collectives += piece.repeats if piece.is_block else 1
    amounts = {"all_gather": gathered, "reduce_scatter": reduced, "all_reduce": summed, "all_to_all": sent}
    amounts = {kind: amount * accumulation for kind, amount in amounts.items()}
    waits = {
        "all_gather": 2 * collectives * _nodes(shard, hardware) * (shard > 1),
        "reduce_scatter": collectives * _nodes(shard, hardware) * (shard > 1),
        "all_reduce": 2 * collectives * layout.replicate * (layout.replicate > 1),
        "all_to_all": 0,
    }
    inside, apart = _speed(shard, hardware), _apart(layout, hardware)
    speeds = {
        "all_gather": inside,
        "reduce_scatter": inside,
        "all_reduce": apart,
        "all_to_all": hardware.link if layout.experts <= hardware.per_node else hardware.network,
    }
    seconds = {
        kind: amount / (speeds[kind] * SHARES.links) + waits[kind] * accumulation * SHARES.hop
        for kind, amount in amounts.items()
    }
    return Traffic(bytes=amounts, seconds=seconds)


def _ring(devices: int) -> float:
    return (devices - 1) / devices


def _nodes(devices: int, hardware: Hardware) -> int:
    return -(-devices // hardware.per_node)


def _speed(devices: int, hardware: Hardware) -> float:
    """Of a ring of devices that stand side by side."""
    over_nodes = hardware.per_node * hardware.network
    return hardware.link if devices <= hardware.per_node else min(hardware.link, over_nodes)


def _apart(layout: Layout, hardware: Hardware) -> float:
    """Of a ring of copies: their shares use the node's cards side by side."""
    if layout.devices <= hardware.per_node:
        return hardware.link
    beside = min(layout.shard, hardware.per_node)
    return min(hardware.link, hardware.network * hardware.per_node / beside)
