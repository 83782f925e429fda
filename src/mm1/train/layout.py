"""How a model is spread over processes, as a value: what is copied, what is cut, what is computed twice.

    ParallelConfig(replicate=2, experts=4)       # 16 processes: replicate 2 x shard 8; experts over 4 of each 8

    ranks of a shard (8)         0   1   2   3 | 4   5   6   7      dense weights: each rank an eighth
    experts (4)                  A   B   C   D | A   B   C   D      experts: a quarter of them a rank, and of those
    (8 / 4 = 2 share experts)                                       half the rows of each matrix

Nothing here changes what is learned: the gradient is that of one process, to rounding. Shape letters as in `models/`.
Knows nothing of modules; `parallelize.py` carries it out.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import PositiveInt

from mm1.config import Config, UserError
from mm1.models.decoder import DecoderConfig

Precision: TypeAlias = Literal["auto", "bf16", "fp32"]
Checkpointing: TypeAlias = Literal["none", "selective", "full"]


class ParallelConfig(Config):
    """Where weights live and what backward keeps; the weights that come out do not depend on it but for rounding."""

    replicate: PositiveInt = 1
    """Copies of the sharded model (HSDP). Put the shards of one copy where links are fast, such as one machine: between
    copies only the summed gradients of a rank's own shard travel."""
    shard: PositiveInt | None = None
    """Processes among which one copy is cut (FSDP2); None: all there are, divided by `replicate`."""
    experts: PositiveInt = 1
    """Processes, neighbours within a shard, among which the experts of a sparse layer are dealt; tokens travel to them
    and back. At 1 experts are gathered like other weights."""
    activation_checkpointing: Checkpointing = "none"
    """What backward computes again instead of keeping: "full" all of a block; "selective" all but the outputs of matrix
    products and attention, that is to say what is cheap; blocks with experts dealt out are always done in full."""
    compile: bool = False
    """torch.compile, one block at a time; the first step takes a minute."""
    gather_precision: Literal["auto", "fp32"] = "auto"
    """Of the weights of blocks while they are gathered. "auto" is bf16 on CUDA where training is in bf16: half the
    traffic and memory of fp32. The weights that are kept, and sums of gradients, are fp32 in any case."""
    reshard_after_forward: bool = True
    """Whether gathered weights are dropped after forward and gathered again for backward; False keeps them, which
    takes the memory of a whole copy in `gather_precision` and saves a third of the traffic; of a step of several
    microbatches they are gathered once."""
    reduce_gradients: Literal["each", "last"] = "each"
    """After which of a step's microbatches gradients are summed over the processes of a shard. "last" keeps those of a
    whole copy in fp32 until then, and sends them once. Over copies they are summed after the last one in any case."""

    def check(self, processes: int, decoder: DecoderConfig | None) -> None:
        """That the layout has a place for each of `processes` and for the experts of `decoder`.

        Raises:
            UserError: it has not; the sizes are named.
        """
        shard = self.shards(processes)
        if self.experts == 1:
            return
        moe = None if decoder is None else decoder.moe
        if decoder is None or moe is None:
            raise UserError(
                f"parallel.experts={self.experts} deals experts out, but this model has none: leave it at 1"
            )
        if moe.num_experts % self.experts:
            raise UserError(
                f"parallel.experts={self.experts} does not divide the {moe.num_experts} experts of a layer: "
                "choose a divisor"
            )
        if shard % self.experts:
            raise UserError(
                f"parallel.experts={self.experts} does not divide the {shard} processes of a shard: choose a divisor"
            )
        share, sizes = shard // self.experts, (decoder.dim, moe.expert_dim or decoder.mlp_dim)
        if any(size % share for size in sizes):
            raise UserError(
                f"{share} processes share each expert (a shard of {shard} by parallel.experts={self.experts}), which "
                f"does not divide its sizes {sizes[0]} and {sizes[1]}: raise parallel.experts or parallel.replicate"
            )

    def shards(self, processes: int) -> int:
        """Processes among which one copy is cut.

        Raises:
            UserError: `replicate` and `shard` do not make up `processes`.
        """
        if self.shard is None and processes % self.replicate:
            raise UserError(
                f"parallel.replicate={self.replicate} does not divide the {processes} processes: choose a divisor"
            )
        if self.shard is not None and self.replicate * self.shard != processes:
            raise UserError(
                f"parallel.replicate={self.replicate} times parallel.shard={self.shard} is "
                f"{self.replicate * self.shard}, but there are {processes} processes: leave shard out, or make them "
                "equal"
            )
        return processes // self.replicate

    def block_checkpointing(self, sparse: bool) -> Checkpointing:
        """What becomes of a block, which has experts if it is `sparse`."""
        return block_checkpointing(self.activation_checkpointing, exchanges=sparse and self.experts > 1)

    @property
    def crossings(self) -> int:
        """How often in a step a token's vector goes to an expert elsewhere or comes back from it.

        There and back in forward, the same as gradients in backward, and there and back once more where the block is
        computed again.
        """
        return 4 if self.block_checkpointing(sparse=True) == "none" else 6

    def all_to_all_bytes(self, choices: float, dim: int, element_size: int) -> float:
        """Bytes that a rank sends to others for one sparse layer in a step, where all experts are chosen equally often.

        Args:
            choices: tokens of this rank in the step, padding left out, times the experts that each is sent to.
            dim: of the decoder.
            element_size: bytes of a number: 2 in bf16, 4 in fp32.
        """
        elsewhere = choices * (self.experts - 1) / self.experts
        return elsewhere * dim * element_size * self.crossings


def block_checkpointing(mode: Checkpointing, exchanges: bool) -> Checkpointing:
    """What becomes of a block under `activation_checkpointing=mode`; `exchanges`: whether its experts are dealt out.

    "selective" follows every operator of a block, and those with which FSDP gathers dealt experts inside it differ in
    backward; so there it is "full".
    """
    return "full" if exchanges and mode == "selective" else mode
