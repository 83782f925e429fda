"""How long a step takes: computing by part, what is computed twice, the optimizer, and what of the traffic shows.

    products ÷ (peak · share) + attention ÷ (peak · share) + everything else by the bytes that it moves
    + what gathering and reducing take beyond the computing that hides them + tokens on their way to experts

Operations are those of `costs.flops_per_sequence`, so that what is called MFU here is what training reports: forward
and backward of real lengths; what is recomputed takes time and counts for nothing. Logits are made in float32, which
tensor cores do not help. Knows nothing of memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm1.train.costs import flops_per_sequence
from mm1.train.planning.hardware import SHARES, Hardware
from mm1.train.planning.layout import Layout
from mm1.train.planning.pieces import PARTS, Piece
from mm1.train.planning.traffic import Traffic
from mm1.train.stage import StageConfig

ADAMW_BYTES = 28
"""Moved a parameter: weight, gradient and two averages read, three of them written."""
NORMALISE_BYTES = 12
"""Moved a parameter: its gradient read for the norm, read and written to be scaled."""
NEWTON_SCHULZ_STEPS = 5


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
    layout: Layout,
    travels: Traffic,
    hardware: Hardware,
    *,
    bf16: bool,
    mfu: float | None,
) -> StepTime:
    """Of one device, which takes its share of the rows.

    Args:
        stage: what is trained.
        pieces: traced on `layout.microbatch_rows` rows.
        layout: how it is spread.
        travels: what is sent.
        hardware: on which device.
        bf16: whether products are made in bfloat16.
        mfu: replaces all that is assumed of the speed of computing.
    """
    rows = stage.data.rows / layout.devices
    flops = flops_per_sequence(stage)
    peak = hardware.products if bf16 else hardware.float32_products
    if mfu is not None:
        computing = {part: rows * flops[part] / (peak * mfu) for part in PARTS}
    else:
        computing = dict.fromkeys(PARTS, 0.0)
        attended = attention_flops(pieces, layout)
        for part in PARTS:
            speed = (hardware.float32_products if part == "output" else peak) * SHARES.products
            if part == "decoder" and any(piece.experts for piece in pieces):
                speed *= SHARES.grouped
            products = flops[part] - attended[part]
            computing[part] = rows * (products / speed + attended[part] / (peak * SHARES.attention))
            computing[part] += rows / layout.microbatch_rows * _moving(pieces, part, hardware)
    seconds = {f"compute_{part}": value for part, value in computing.items()}
    seconds["recompute"] = _again(pieces, layout, computing, rows, hardware)
    seconds["optimizer"] = _optimizer(pieces, layout, hardware, peak)
    hidden = SHARES.overlap * (sum(computing.values()) + seconds["recompute"])
    beside = sum(value for kind, value in travels.seconds.items() if kind != "all_to_all")
    seconds["communication"] = max(0.0, beside - hidden) + travels.seconds["all_to_all"]
    return StepTime(seconds=seconds)


def attention_flops(pieces: Sequence[Piece], layout: Layout) -> dict[str, float]:
    """By part, of one row, forward and backward. Decoders skip what the mask forbids, which is half."""
    found = dict.fromkeys(PARTS, 0.0)
    for piece in pieces:
        traced = piece.cost.flops("attention", "forward") + piece.cost.flops("attention", "backward")
        found[piece.part] += piece.repeats * traced / layout.microbatch_rows / (2 if piece.part == "decoder" else 1)
    return found


def _moving(pieces: Sequence[Piece], part: str, hardware: Hardware) -> float:
    """Seconds of a microbatch's kernels that are no products."""
    return sum(
        piece.repeats * (piece.cost.other_bytes("forward") + piece.cost.other_bytes("backward")) * _fused(piece)
        for piece in pieces
        if piece.part == part
    ) / (hardware.bandwidth * SHARES.memory)


def _again(
    pieces: Sequence[Piece], layout: Layout, computing: Mapping[str, float], rows: float, hardware: Hardware
) -> float:
    """Seconds of what blocks compute a second time."""
    blocks = [piece for piece in pieces if piece.is_block]
    if layout.activation_checkpointing == "none":
        return 0.0
    if layout.activation_checkpointing == "full":  # a forward is a third
        return sum(computing[part] for part in {piece.part for piece in blocks}) / 3
    moved = sum(piece.repeats * piece.cost.other_bytes("forward") * _fused(piece) for piece in blocks)
    return rows / layout.microbatch_rows * moved / (hardware.bandwidth * SHARES.memory)


def _fused(piece: Piece) -> float:
    return SHARES.fused if piece.is_block else 1.0


def _optimizer(pieces: Sequence[Piece], layout: Layout, hardware: Hardware, peak: float) -> float:
    """Seconds: AdamW and clipping move their bytes; Muon's matrices are orthogonalised whole on every device."""
    own = sum(piece.trained * piece.repeats for piece in pieces) / layout.shard
    moved = own * (ADAMW_BYTES + NORMALISE_BYTES) / (hardware.bandwidth * SHARES.memory)
    return moved + sum(
        piece.repeats * orthogonalising_flops(*shape) / (peak * SHARES.products)
        for piece in pieces
        for shape in piece.matrices
    )


def orthogonalising_flops(rows: int, columns: int) -> int:
    """Of one matrix: each iteration makes a Gram matrix, its square, and a product with it."""
    short, long = sorted((rows, columns))
    return NEWTON_SCHULZ_STEPS * (4 * short * short * long + 2 * short**3)
