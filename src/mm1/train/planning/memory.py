"""The most memory that one device needs in a step, and what it is made of.

    ┌ weights, gradients, optimizer state: float32, a share of each ──────────────── all the time
    │   what blocks left for the backward     grows through the forward, shrinks through the backward
    │   gradients                             grow through the backward
    └   what the block at work needs beside   weights gathered whole, its own intermediate results

The step is walked through piece by piece, forward and back, and the fullest moment is told. Weights are float32; with
more than one device a block's are gathered in bfloat16 as it is their turn, the next one's meanwhile; the image encoder
is gathered as one, and its gradients are summed as one; what belongs to no block (embedding, connector, output matrix)
stays gathered, in float32, and its gradients are whole until the backward ends. Knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mm1.train.layout import ParallelConfig
from mm1.train.planning.hardware import SHARES
from mm1.train.planning.pieces import FLOAT32, PARTS, Piece, TraceConfig

MUON_BYTES = 24
"""Of a weight that is being orthogonalised: gradient, update, two iterates, the new weight, in float32 or less."""


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


def memory(
    pieces: Sequence[Piece],
    parallel: ParallelConfig,
    devices: int,
    trace: TraceConfig,
    *,
    accumulation: int,
    batch: float,
) -> Memory:
    """Of a model in `pieces`, traced as `trace` on the rows of a microbatch.

    Args:
        pieces: in the order of the forward.
        parallel: how it is spread.
        devices: over how many.
        trace: as what it runs.
        accumulation: microbatches a step.
        batch: bytes of the batch itself.
    """
    walk = _Walk(pieces, parallel, devices, trace, accumulation)
    fullest = max(walk.moments(), key=lambda moment: moment.total)
    parts = {
        "weights": FLOAT32 * walk.share(piece.parameters * piece.repeats for piece in pieces),
        "gradients": fullest.gradients,
        "optimizer": walk.share(piece.state * piece.repeats for piece in pieces),
        "gathered_weights": fullest.gathered,
        "activations": sum(fullest.kept.values()),
        "at_work": fullest.at_work,
        "batch": batch,
    }
    return Memory(parts=parts, activations=fullest.kept)


def reserve(needed: Memory, parallel: ParallelConfig, devices: int) -> float:
    """Bytes that are no tensor's: the device's context, NCCL's buffers, what the allocator loses."""
    return SHARES.context + SHARES.group * _groups(parallel, devices) + SHARES.fragments * needed.transient


def _groups(parallel: ParallelConfig, devices: int) -> int:
    """Groups of processes to which a device belongs; that of all is the shard where there are no copies."""
    copies, shard = parallel.replicate > 1, parallel.shards(devices) > 1
    dealt, cut = parallel.experts > 1, parallel.shards(devices) > parallel.experts
    return (devices > 1) + (copies + (copies and shard)) + dealt * (1 + copies + cut)


def kept(piece: Piece, parallel: ParallelConfig) -> float:
    """Bytes that one repeat leaves for the backward. Its input is the result of the one before, and counted there."""
    if not piece.cost.backward:  # nothing but what the next one takes, which drops it
        return 0.0
    match piece.checkpointing(parallel):
        case "none":
            return piece.cost.kept
        case "selective":
            return piece.cost.products + piece.cost.result
        case "full":
            return piece.cost.result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What is there while one piece is at work, beside what is there all the time; bytes."""

    kept: dict[str, float]
    """For the backward, by part of the model."""
    gradients: float
    gathered: float
    at_work: float

    @property
    def total(self) -> float:
        return sum(self.kept.values()) + self.gradients + self.gathered + self.at_work


class _Walk:
    """Through a step of `accumulation` microbatches; with several the last one is the fullest."""

    def __init__(
        self, pieces: Sequence[Piece], parallel: ParallelConfig, devices: int, trace: TraceConfig, accumulation: int
    ) -> None:
        self._pieces, self._parallel, self._accumulates = pieces, parallel, accumulation > 1
        self._shard, self._single, self._each = parallel.shards(devices), devices == 1, trace.gathered_bytes
        self._encoder = sum(piece.parameters * piece.repeats for piece in pieces if piece.is_encoder_block)
        blocks = [
            (piece.there(parallel), piece.repeats) for piece in pieces if piece.is_block and not piece.is_encoder_block
        ]
        self._decoder = sum(size * repeats for size, repeats in blocks)
        self._largest = max(size for size, _ in blocks)

    def share(self, numbers: Iterable[float]) -> float:
        """A device's share of what is cut over `shard` devices."""
        return sum(numbers) / self._shard

    def moments(self) -> Iterator[_Moment]:
        """Those among which the fullest is: a piece's first and last repeat, forward and back, and the optimizer's."""
        before, all_gradients = dict.fromkeys(PARTS, 0.0), self._all_gradients()
        for piece in self._pieces:
            each, gathered = kept(piece, self._parallel), self._gathered(piece)
            for number in {1, piece.repeats}:  # between the first and the last it grows or shrinks steadily
                held = {**before, piece.part: before[piece.part] + each * (number - 1)}
                yield _Moment(
                    kept=held,
                    gradients=all_gradients * self._accumulates,
                    gathered=gathered,
                    at_work=piece.cost.forward_peak,
                )
                yield _Moment(
                    kept=held,
                    gradients=self._gradients_behind(piece, number),
                    gathered=gathered,
                    at_work=self._backward_peak(piece, number),
                )
            before[piece.part] += each * piece.repeats
        largest = max((rows * columns for piece in self._pieces for rows, columns in piece.matrices), default=0)
        yield _Moment(
            kept=dict.fromkeys(PARTS, 0.0), gradients=all_gradients, gathered=0.0, at_work=MUON_BYTES * largest
        )

    def _gradients_behind(self, piece: Piece, number: int) -> float:
        """When repeat `number` of `piece` begins its backward: of pieces that are done, and of earlier microbatches."""
        place = self._pieces.index(piece)
        done = [(later, later.repeats) for later in self._pieces[place + 1 :]] + [(piece, piece.repeats - number)]
        whole = reduced = 0.0
        for one, times in done:
            if self._single or (one.is_block and not (one.is_encoder_block and piece.is_encoder_block)):
                reduced += FLOAT32 * self.share([one.trained * times])
            else:
                whole += (self._each if one.is_block else FLOAT32) * times * (one.trained + one.borrowed)
        if self._accumulates:
            reduced = self._all_gradients()
        return whole + reduced

    def _all_gradients(self) -> float:
        """Of all pieces when a microbatch is done: a share, or a whole copy's where the last one alone sums them."""
        if self._accumulates and self._parallel.reduce_gradients == "last" and not self._single:
            there = (one.there(self._parallel) * one.repeats for one in self._pieces if one.trained)
            return FLOAT32 * sum(there)
        return FLOAT32 * self.share(one.trained * one.repeats for one in self._pieces)

    def _backward_peak(self, piece: Piece, number: int) -> float:
        """Beside what earlier pieces keep; a single device's new gradients among it."""
        peak: float = piece.cost.backward_peak
        if self._single or not piece.is_block:
            return peak
        elsewhere = self._each * piece.experts * (1 - 1 / self._parallel.experts)
        summed = piece.there(self._parallel)  # in float32: a block's, or the whole encoder's when it is done
        if piece.is_encoder_block:
            summed = self._encoder if number == 1 else 0
        summed *= piece.share_trained
        return peak - elsewhere + FLOAT32 * summed

    def _gathered(self, piece: Piece) -> float:
        """Weights that are gathered while `piece` is at work."""
        if self._single:
            return 0.0
        root = sum(one.parameters for one in self._pieces if not one.is_block)
        turn = self._encoder if piece.is_encoder_block else 2 * self._largest
        if not self._parallel.reshard_after_forward:
            turn = self._encoder + self._decoder
        return FLOAT32 * root + self._each * turn
