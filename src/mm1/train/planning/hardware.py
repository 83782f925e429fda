"""What a device can do, by the makers' data sheets, and what share of it training reaches.

    find("h100").products            # 989e12 bf16 operations a second, dense
    SHARES.products                  # of which a large matrix product reaches so much

Peaks are of the SXM boards, without sparsity. Sources: NVIDIA A100 Tensor Core GPU datasheet (2021), H100 Tensor Core
GPU datasheet (2023), H200 Tensor Core GPU datasheet (2024), DGX B200 datasheet (2024), the last divided by its eight
GPUs; one 200 or 400 Gb/s network card a GPU, as in DGX A100, H100 and B200. Memory is what CUDA reports in all, as
messages of PyTorch and nvidia-smi show it: 6 % more than the 80, 141 and 180 GB of the data sheets. Knows nothing of
models.
"""

from __future__ import annotations

from dataclasses import dataclass

from mm1.config import UserError

CPU = "cpu"
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One device and what joins it to others; operations and bytes, a second where that makes sense."""

    name: str
    products: float
    """Of bfloat16, summed in float32."""
    float32_products: float
    """Of float32 without TF32, which is what torch does unless told otherwise."""
    memory: float
    """All that CUDA reports of it."""
    bandwidth: float
    """Of its memory."""
    link: float
    """To the other devices of its node, one way."""
    network: float
    """Out of its node, one way."""
    per_node: int = 8


HARDWARE = {
    one.name: one
    for one in (
        Hardware(
            name="a100", products=312e12, float32_products=19.5e12, memory=79.1 * GIB, bandwidth=2.039e12,
            link=300e9, network=25e9,
        ),
        Hardware(
            name="h100", products=989e12, float32_products=67e12, memory=79.1 * GIB, bandwidth=3.35e12,
            link=450e9, network=50e9,
        ),
        Hardware(
            name="h200", products=989e12, float32_products=67e12, memory=139 * GIB, bandwidth=4.8e12,
            link=450e9, network=50e9,
        ),
        Hardware(
            name="b200", products=2250e12, float32_products=75e12, memory=178.3 * GIB, bandwidth=8e12,
            link=900e9, network=50e9,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Which share of a peak is reached, and what is kept free. Assumptions, not measurements of ours.

    They bring MM1-30B on H100s to an MFU within the 41 to 48 % that Megatron-LM's README gives for models of its kind.
    """

    products: float = 0.52
    """Of products in bfloat16 and float32, all of a step's together."""
    grouped: float = 0.85
    """Of what plain products reach, where experts' rows are fewer."""
    attention: float = 0.33
    """Of FlexAttention, forward and backward."""
    memory: float = 0.8
    """Of the memory's bandwidth, by everything that is no product."""
    fused: float = 0.4
    """Of the bytes that plain kernels would move, what those of compiled blocks do."""
    links: float = 0.75
    """Of links and network, by collectives of many megabytes."""
    overlap: float = 0.9
    """Of the computing, that beside which gathering and reducing are hidden."""
    hop: float = 5e-6
    """Seconds that a collective takes a node of its ring, however small it is."""
    fragments: float = 0.06
    """Of what is allocated beside weights and their state, what the allocator wastes."""
    context: float = 0.6e9
    """Bytes: the CUDA context and cuBLAS' workspace."""
    group: float = 0.7e9
    """Bytes: NCCL's buffers of one group of processes; 688 MB were reported of an A100 (NVIDIA/nccl, issue 964)."""
    usable: float = 0.9
    """Of a device's memory, what a plan may take: what is left free is what a plan may be wrong by. torchtitan's
    published runs on H100s take about as much of theirs."""


SHARES = Shares()


def find(name: str) -> Hardware:
    """The device of that name.

    Raises:
        UserError: there is none.
    """
    if name not in HARDWARE:
        raise UserError(f"--gpu {name} is not known: choose {', '.join(HARDWARE)}, or cpu for this machine, measured")
    return HARDWARE[name]
