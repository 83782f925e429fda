"""What a model is in a plan: pieces in the order of its forward, traced once and repeated.

    stem → encoder block × 32 → connector → embedding → decoder block × 36 (dense, sparse) → output
    └───── image_encoder ───┘   connector   └───────────── decoder ──────────────────────┘   output

Knows nothing of how pieces are traced (`cut.py`), of hardware, or of how a model is spread over it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mm1.train.layout import Checkpointing, ParallelConfig
from mm1.train.planning.trace import Cost

PARTS = ("image_encoder", "connector", "decoder", "output")
FLOAT32, BFLOAT16 = 4, 2
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of the forward."""

    part: str
    """One of PARTS."""
    name: str
    repeats: int = 1
    cost: Cost
    """Of one repeat."""
    parameters: int
    """Of one repeat, experts included; those of a matrix that two pieces share belong to the first."""
    experts: int = 0
    """Of them, those of experts."""
    trained: int = 0
    """Of `parameters`, those that move."""
    matrices: tuple[tuple[int, int], ...] = ()
    """Shapes of those that Muon moves."""
    state: int = 0
    """Bytes of optimizer state of one repeat."""
    is_block: bool = False
    """Whether it is gathered, compiled and recomputed by itself."""
    borrowed: int = 0
    """Parameters of another piece that it uses as well: a tied embedding."""
    sent_rows: int = 0
    """Rows that a sparse block sends to experts, and how wide they are."""
    width: int = 0

    @property
    def is_encoder_block(self) -> bool:
        """All of these are gathered, and their gradients summed, as one."""
        return self.is_block and self.part == "image_encoder"

    @property
    def share_trained(self) -> float:
        """Of its parameters, those that move."""
        return self.trained / max(1, self.parameters)

    def there(self, parallel: ParallelConfig) -> float:
        """Parameters of one repeat that a device gathers: of the experts its share."""
        return self.parameters - self.experts + self.experts / parallel.experts

    def checkpointing(self, parallel: ParallelConfig) -> Checkpointing:
        """What its backward finds, if it has one."""
        checkpointed = self.is_block and bool(self.cost.backward)
        return parallel.block_checkpointing(self.experts > 0) if checkpointed else "none"

    @property
    def forward_flops(self) -> int:
        """Of all repeats, attention as if it saw all pairs."""
        return self.repeats * (self.cost.flops("product", "forward") + self.cost.flops("attention", "forward"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceConfig:
    """As what the pieces run."""

    bf16: bool = True
    """Products in bfloat16 (autocast)."""
    working_copy: bool = False
    """Blocks see their matrices in bfloat16, as FSDP2 gathers them; the residual stream stays in float32."""
    fused_attention: bool = True
    """No matrix of all pairs of positions."""

    @property
    def number_bytes(self) -> int:
        """Of what products make."""
        return BFLOAT16 if self.bf16 else FLOAT32

    @property
    def gathered_bytes(self) -> int:
        """Of a weight of a block that several devices gather."""
        return BFLOAT16 if self.bf16 and self.working_copy else FLOAT32
