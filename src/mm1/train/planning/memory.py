"""The most memory that one device needs in a step, and what it is made of.

    ┌ weights, gradients, optimizer state: float32, a share of each ──────────────── all the time
    │   what blocks left for the backward     grows through the forward, shrinks through the backward
    │   gradients                             grow through the backward
    └   what the block at work needs beside   weights gathered whole, its own intermediate results

The step is walked through piece by piece, forward and back, and the fullest moment is told. Weights are float32; with
more than one device a block's are gathered in bfloat16 as it is their turn, the next one's meanwhile; the image encoder
is gathered as one, and embedding, connector, output matrix stay gathered, in float32. Knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mm1.train.planning.layout import Layout
from mm1.train.planning.pieces import PARTS, Piece

FLOAT32 = 4
MUON_BYTES = 24
"""Of a weight that is being orthogonalised: gradient, update, two iterates, the new weight, in float32 or less."""
WORKING = 2
"""Bytes of a bfloat16 weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one device at the fullest moment."""

    parts: dict[str, float]
    """What it is made of; their sum is the total."""
    activations: dict[str, float]
    """Of `parts["activations"]`, what each part of the model keeps for the backward."""

    @property
    def transient(self) -> float:
        """Of it, what comes and goes within a step."""
        return sum(self.parts[name] for name in ("gathered_weights", "activations", "at_work", "batch"))

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def memory(pieces: Sequence[Piece], layout: Layout, accumulation: int, batch: float) -> Memory:
    """Of a model in `pieces`, each traced on `layout.microbatch_rows` rows.

    Args:
        pieces: in the order of the forward.
        layout: how it is spread.
        accumulation: microbatches a step.
        batch: bytes of the batch itself.
    """
    walk = _Walk(pieces, layout, accumulation)
    activations, gradients, working, beside = walk.fullest()
    parts = {
        "weights": FLOAT32 * walk.share(piece.parameters * piece.repeats for piece in pieces),
        "gradients": gradients,
        "optimizer": walk.share(piece.state * piece.repeats for piece in pieces),
        "gathered_weights": working,
        "activations": sum(activations.values()),
        "at_work": beside,
        "batch": batch,
    }
    return Memory(parts=parts, activations=activations)


def kept(piece: Piece, layout: Layout) -> float:
    """Bytes that one repeat leaves for the backward."""
    cost = piece.cost
    if piece.is_block and layout.activation_checkpointing == "full":
        return cost.result
    if piece.is_block and layout.activation_checkpointing == "selective":
        return min(cost.kept, cost.products + cost.result)
    return cost.kept


class _Walk:
    """Through a step of `accumulation` microbatches; with several the last one is the fullest."""

    def __init__(self, pieces: Sequence[Piece], layout: Layout, accumulation: int) -> None:
        self._pieces, self._layout, self._accumulates = pieces, layout, accumulation > 1
        self._single = layout.devices == 1
        self._encoder = sum(piece.parameters * piece.repeats for piece in pieces if piece.part == "image_encoder")
        blocks = [_there(piece, layout) for piece in pieces if piece.is_block and piece.part == "decoder"]
        self._largest = max(blocks)

    def share(self, numbers: object) -> float:
        """A device's share of what is cut over `shard` devices."""
        return sum(numbers) / self._layout.shard  # type: ignore[call-overload, no-any-return]

    def fullest(self) -> tuple[dict[str, float], float, float, float]:
        """(what is kept by part, gradients, gathered weights, what the piece at work needs) where their sum is most."""
        all_gradients = FLOAT32 * self.share(piece.trained * piece.repeats for piece in self._pieces)
        best: tuple[float, tuple[dict[str, float], float, float, float]] | None = None
        before = dict.fromkeys(PARTS, 0.0)
        moments = []
        for piece in self._pieces:
            each = kept(piece, self._layout)
            for number in {1, piece.repeats}:  # between the first and the last it grows or shrinks steadily
                held = {**before, piece.part: before[piece.part] + each * (number - 1)}
                moments.append((piece, number, held))
            before[piece.part] += each * piece.repeats
        for piece, number, held in moments:
            gradients = all_gradients if self._accumulates else self._gradients_behind(piece, number)
            for forward in (True, False):
                found = (
                    held,
                    all_gradients * self._accumulates if forward else gradients,
                    self._working(piece),
                    piece.cost.forward_peak if forward else self._backward_peak(piece),
                )
                size = sum(held.values()) + sum(found[1:])
                if best is None or size > best[0]:
                    best = size, found
        assert best is not None
        orthogonalising = MUON_BYTES * max((m * n for piece in self._pieces for m, n in piece.matrices), default=0)
        if all_gradients + orthogonalising > best[0]:
            return dict.fromkeys(PARTS, 0.0), all_gradients, 0.0, orthogonalising
        return best[1]

    def _gradients_behind(self, piece: Piece, number: int) -> float:
        """Of the pieces whose backward is done when repeat `number` of `piece` begins its own."""
        place = self._pieces.index(piece)
        behind = [(later, later.repeats) for later in self._pieces[place + 1 :]]
        return FLOAT32 * self.share(one.trained * times for one, times in [*behind, (piece, piece.repeats - number)])

    def _backward_peak(self, piece: Piece) -> float:
        """Beside what earlier pieces keep; a single device's new gradients among it."""
        peak: float = piece.cost.backward_peak
        if self._single:
            return peak
        elsewhere = piece.experts * (1 - 1 / self._layout.experts)
        return peak - WORKING * elsewhere + FLOAT32 * _there(piece, self._layout)  # what is reduced, in float32

    def _working(self, piece: Piece) -> float:
        """Weights that are gathered while `piece` is at work."""
        if self._single:
            return 0.0
        root = sum(one.parameters for one in self._pieces if one.part != "image_encoder" and not one.is_block)
        turn = self._encoder if piece.part == "image_encoder" else 2 * self._largest
        return FLOAT32 * root + WORKING * turn


def _there(piece: Piece, layout: Layout) -> float:
    """Parameters of one repeat that a device gathers."""
    return piece.parameters - piece.experts + piece.experts / layout.experts
