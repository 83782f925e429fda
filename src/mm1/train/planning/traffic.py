"""What one device sends in a step, by kind of collective, and how long that takes.

    all_gather       weights of each block, forward and backward, every microbatch; all else once   ┐ over `shard`
    reduce_scatter   their gradients, every microbatch                                              ┘
    all_reduce       a share's gradients over `replicate`, once
    all_to_all       tokens to their experts and back, forward and backward, over `experts`
    update_gather    Muon's updates, which are orthogonalised whole, over `shard`, once

Of a ring of n devices each sends (n - 1) / n of what is gathered or reduced. A ring inside a node runs at the speed of
its links; one over nodes at that of all the node's network cards together, which rings share that run through the same
nodes, and it waits for every node. Devices of a shard stand side by side, copies of a weight stand apart. A few numbers
a step that all devices agree on (targets, the norm, Adafactor's means) are left out. Knows nothing of computing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mm1.train.layout import ParallelConfig
from mm1.train.planning.hardware import SHARES, Hardware
from mm1.train.planning.pieces import FLOAT32, Piece, TraceConfig

KINDS = ("all_gather", "reduce_scatter", "all_reduce", "all_to_all", "update_gather")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one device and step, by kind."""

    bytes: dict[str, float]
    """Sent."""
    calls: dict[str, int]
    """Collectives, those with one device's self left out."""
    seconds: dict[str, float]
    """Each kind as if it were alone."""


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
    sent, calls, seconds = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0.0)
    for flow in _flows(pieces, parallel, devices, trace, accumulation):
        if flow.ring.members == 1:
            continue
        sent[flow.kind] += flow.bytes
        calls[flow.kind] += flow.calls
        hops = flow.calls * flow.laps * flow.ring.nodes(hardware)
        seconds[flow.kind] += flow.bytes / (flow.ring.speed(hardware) * SHARES.links) + hops * SHARES.hop
    return Traffic(bytes=sent, calls=calls, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ring:
    """Devices that speak to each other; every `apart`-th device belongs to the same ring."""

    members: int
    apart: int = 1
    is_exchange: bool = False
    """Whether each sends to each: no ring at all, and what leaves a node leaves by the sender's own network card."""

    @property
    def elsewhere(self) -> float:
        """The share of a whole that other members have."""
        return (self.members - 1) / self.members

    def nodes(self, hardware: Hardware) -> int:
        return min(self.members, -(-self.members * self.apart // hardware.per_node))

    def speed(self, hardware: Hardware) -> float:
        """Bytes a second of one member."""
        if self.members * self.apart <= hardware.per_node:
            return hardware.link
        beside = hardware.per_node if self.is_exchange else min(self.apart, hardware.per_node)
        return min(hardware.link, hardware.network * hardware.per_node / beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """Collectives of a kind over one ring; bytes of all `calls` together, which a member sends."""

    kind: str
    ring: _Ring
    bytes: float
    calls: int
    laps: int = 1
    """How often something goes around the ring in a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """What FSDP gathers and reduces at once; sizes in parameters."""

    weights: float
    trained: float
    ring: _Ring
    repeats: int = 1
    stays: bool = False
    """Whether it is gathered once a step, in float32: what belongs to no block."""
    is_passed_by: bool = False
    """Whether no gradient comes to it."""


def _flows(
    pieces: Sequence[Piece], parallel: ParallelConfig, devices: int, trace: TraceConfig, accumulation: int
) -> Iterator[_Flow]:
    shard = parallel.shards(devices)
    copies, reductions = _Ring(members=parallel.replicate, apart=shard), _reductions(parallel, accumulation)
    for unit in _units(pieces, parallel, shard):
        gathers, size = _gathers(unit, parallel, accumulation), FLOAT32 if unit.stays else trace.gathered_bytes
        ring, weights, trained = unit.ring, unit.repeats * unit.weights, unit.repeats * unit.trained
        away = ring.elsewhere
        yield _Flow(kind="all_gather", ring=ring, bytes=gathers * size * weights * away, calls=gathers * unit.repeats)
        if trained:
            times, own = reductions * unit.repeats, FLOAT32 * trained / ring.members
            yield _Flow(kind="reduce_scatter", ring=ring, bytes=reductions * FLOAT32 * trained * away, calls=times)
            yield _Flow(kind="all_reduce", ring=copies, bytes=2 * own * copies.elsewhere, calls=unit.repeats, laps=2)
    exchange, side_by_side = _Ring(members=parallel.experts, is_exchange=True), _Ring(members=shard)
    for piece in pieces:
        times = accumulation * piece.repeats
        if piece.sent_rows:
            crossing = parallel.all_to_all_bytes(times * piece.sent_rows, piece.width, trace.number_bytes)
            yield _Flow(kind="all_to_all", ring=exchange, bytes=crossing, calls=times * parallel.crossings)
        updates = FLOAT32 * piece.repeats * sum(rows * columns for rows, columns in piece.matrices)
        gathered = piece.repeats * len(piece.matrices)
        yield _Flow(kind="update_gather", ring=side_by_side, bytes=updates * side_by_side.elsewhere, calls=gathered)


def _units(pieces: Sequence[Piece], parallel: ParallelConfig, shard: int) -> Iterator[_Unit]:
    """The image encoder's blocks are one unit, each decoder block one, its experts one if dealt out, the rest one."""
    ring = _Ring(members=shard)
    root, encoder = [one for one in pieces if not one.is_block], [one for one in pieces if one.is_encoder_block]
    for together in filter(None, (root, encoder)):
        weights = sum(one.parameters * one.repeats for one in together)
        trained = sum(one.trained * one.repeats for one in together)
        is_root = together is root
        yield _Unit(
            weights=weights, trained=trained, ring=ring, stays=is_root, is_passed_by=not is_root and not trained
        )
    for piece in pieces:
        if not piece.is_block or piece.is_encoder_block:
            continue
        dealt = piece.experts if parallel.experts > 1 else 0
        dense, moving = piece.parameters - dealt, piece.share_trained
        yield _Unit(weights=dense, trained=dense * moving, ring=ring, repeats=piece.repeats)
        if dealt:
            own = dealt / parallel.experts
            apart = _Ring(members=shard // parallel.experts, apart=parallel.experts)
            yield _Unit(weights=own, trained=own * moving, ring=apart, repeats=piece.repeats)


def _gathers(unit: _Unit, parallel: ParallelConfig, accumulation: int) -> int:
    """How often in a step a unit is gathered.

    FSDP gathers ahead of need, in the backward also what no gradient comes to, and finds that in the next forward.
    """
    if unit.stays or not parallel.reshard_after_forward:
        return 1
    return accumulation + 1 if unit.is_passed_by else 2 * accumulation


def _reductions(parallel: ParallelConfig, accumulation: int) -> int:
    """How often in a step gradients are summed over a shard."""
    return accumulation if parallel.reduce_gradients == "each" else 1
