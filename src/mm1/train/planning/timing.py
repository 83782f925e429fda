"""How long a step takes: computing by part, what is computed twice, the optimizer, and what of the traffic shows.

    products ÷ (peak · share) + attention ÷ (peak · share) + everything else by the bytes that it moves
    + what gathering and reducing take beyond the computing that hides them + tokens on their way to experts

Operations are those of `costs.flops_per_sequence`, so that what is called MFU here is what training reports: forward
and backward of real lengths; what is recomputed takes time and counts for nothing. Knows nothing of memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm1.train.layout import ParallelConfig
from mm1.train.muon import ITERATIONS
from mm1.train.planning.hardware import SHARES, Hardware
from mm1.train.planning.pieces import PARTS, Piece
from mm1.train.planning.trace import Phase
from mm1.train.planning.traffic import Traffic
from mm1.train.stage import StageConfig

ADAMW_BYTES = 28
"""Moved a parameter: weight, gradient and two averages read, three of them written."""
NORMALISE_BYTES = 12
"""Moved a parameter: its gradient read for the norm, read and written to be scaled."""
SHOWN = ("all_to_all", "update_gather")
"""Traffic beside which nothing is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of one step, by what they are spent on; their sum is the step."""

    seconds: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def step_time(
    stage: StageConfig,
    pieces: Sequence[Piece],
    devices: int,
    travels: Traffic,
    hardware: Hardware,
    *,
    flops: Mapping[str, int],
    factors: Mapping[str, int],
    bf16: bool,
    mfu: float | None,
) -> StepTime:
    """Of one device, which takes its share of the rows.

    Args:
        stage: what is trained, and how it is spread.
        pieces: traced on the rows of a microbatch.
        devices: over how many.
        travels: what is sent.
        hardware: on which device.
        flops: of training on one full sequence, by part.
        factors: how many forwards these are.
        bf16: whether products are made in bfloat16.
        mfu: replaces all that is assumed of the speed of computing.
    """
    peak = hardware.products if bf16 else hardware.float32_products
    computing = _computing(stage, pieces, devices, hardware, flops, peak, mfu)
    seconds = {f"compute_{part}": value for part, value in computing.items()}
    again = sum(computing[part] * share for part, share in computed_again(pieces, stage.parallel, factors).items())
    selective = [piece for piece in pieces if piece.checkpointing(stage.parallel) == "selective"]
    seconds["recompute"] = again + _moving(stage, selective, devices, hardware, "forward")
    seconds["optimizer"] = _optimizer(pieces, stage.parallel.shards(devices), hardware, peak)
    hidden = SHARES.overlap * (sum(computing.values()) + seconds["recompute"])
    alone = sum(travels.seconds[kind] for kind in SHOWN)
    seconds["communication"] = max(0.0, sum(travels.seconds.values()) - alone - hidden) + alone
    return StepTime(seconds=seconds)


def _computing(
    stage: StageConfig,
    pieces: Sequence[Piece],
    devices: int,
    hardware: Hardware,
    flops: Mapping[str, int],
    peak: float,
    mfu: float | None,
) -> dict[str, float]:
    """Seconds of forward and backward, by part."""
    rows = stage.data.rows / devices
    if mfu is not None:
        return {part: rows * flops[part] / (peak * mfu) for part in PARTS}
    attended, seconds = attention_flops(pieces, stage.rows_at_once(devices)), {}
    for part in PARTS:
        own = [piece for piece in pieces if piece.part == part]
        speed = peak * SHARES.products
        if any(piece.experts for piece in own):
            speed *= SHARES.grouped
        products = (flops[part] - attended[part]) / speed
        attention = attended[part] / (peak * SHARES.attention)
        seconds[part] = rows * (products + attention) + _moving(stage, own, devices, hardware, "forward", "backward")
    return seconds


def attention_flops(pieces: Sequence[Piece], rows: int) -> dict[str, float]:
    """By part, of one of `rows` that were traced, forward and backward. Decoders skip what the mask forbids: half."""
    found = dict.fromkeys(PARTS, 0.0)
    for piece in pieces:
        traced = piece.cost.flops("attention", "forward") + piece.cost.flops("attention", "backward")
        found[piece.part] += piece.repeats * traced / rows / (2 if piece.part == "decoder" else 1)
    return found


def computed_again(pieces: Sequence[Piece], parallel: ParallelConfig, factors: Mapping[str, int]) -> dict[str, float]:
    """By part, the share of its operations that are made a second time: forwards of blocks checkpointed in full."""
    shares = {}
    for part in PARTS:
        own = [piece for piece in pieces if piece.part == part]
        again = sum(piece.forward_flops for piece in own if piece.checkpointing(parallel) == "full")
        shares[part] = again / max(1, sum(piece.forward_flops for piece in own)) / factors[part]
    return shares


def _moving(stage: StageConfig, pieces: Sequence[Piece], devices: int, hardware: Hardware, *phases: Phase) -> float:
    """Seconds of kernels that are no products, by the bytes that they move; compiled blocks are spared some."""
    microbatches = stage.data.rows / devices / stage.rows_at_once(devices)
    moved = 0.0
    for piece in pieces:
        fused = SHARES.fused if piece.is_block and stage.parallel.compile else 1.0
        moved += fused * piece.repeats * sum(piece.cost.other_bytes(phase) for phase in phases)
    return microbatches * moved / (hardware.bandwidth * SHARES.memory)


def _optimizer(pieces: Sequence[Piece], shard: int, hardware: Hardware, peak: float) -> float:
    """Seconds: AdamW and clipping move their bytes; Muon's matrices are orthogonalised whole on every device."""
    own = sum(piece.trained * piece.repeats for piece in pieces) / shard
    moved = own * (ADAMW_BYTES + NORMALISE_BYTES) / (hardware.bandwidth * SHARES.memory)
    return moved + sum(
        piece.repeats * orthogonalising_flops(*shape) / (peak * SHARES.products)
        for piece in pieces
        for shape in piece.matrices
    )


def orthogonalising_flops(rows: int, columns: int) -> int:
    """Of one matrix: each iteration makes a Gram matrix, its square, and a product with it."""
    short, long = sorted((rows, columns))
    return ITERATIONS * (4 * short * short * long + 2 * short**3)
