"""FlexAttention: one fused kernel that works from the rule of a mask and skips the tiles in which it allows nothing.

    rule (row, query, key) → allowed?  ──block_mask──→ BlockMask of 128 × 128 tiles ──attend_in_tiles──→ (B, H, S, K)

    if usable(device, torch.bfloat16, head_dim=64):      # tried once in a process, told in one line where it fails
        mixed = attend_in_tiles(q, k, v, block_mask(rule, batch, queries, keys, device))

Compiled for CUDA. On the CPU PyTorch runs it as plain matrix products and forward only, which is enough to test the
masks. Dong et al. 2024 (arXiv 2412.05496). Knows nothing of segments, caches or windows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Rule: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(rows, queries, keys), index tensors that broadcast together → whether each query may attend to the key."""


RECOMPILE_LIMIT = 64


def block_mask(rule: Rule, batch: int, queries: int, keys: int, device: torch.device) -> BlockMask:
    """Which tiles of the (batch, queries, keys) matrix are empty, which are whole, and the rule for the rest.

    Compiled on CUDA, where PyTorch then fuses the rule into the search and never holds the matrix.
    """
    make = _compiled(create_block_mask) if device.type == "cuda" else create_block_mask
    blocks: BlockMask = make(lambda row, _, query, key: rule(row, query, key), batch, None, queries, keys, device)
    return blocks


def attend_in_tiles(
    q: Float[Tensor, "B H S K"], k: Float[Tensor, "B G C K"], v: Float[Tensor, "B G C K"], blocks: BlockMask
) -> Float[Tensor, "B H S K"]:
    """softmax(q kᵀ / √K) v over the pairs that `blocks` allows. H is a multiple of G."""
    if q.device.type == "cuda":
        kernel: Callable[..., Any] = flex_attention
        if not torch.compiler.is_compiling():
            kernel = _compiled(flex_attention)
        return _flex(kernel, q, k, v, blocks)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")  # here it is meant
        return _flex(flex_attention, q, k, v, blocks)


def _flex(kernel: Callable[..., Any], q: Tensor, k: Tensor, v: Tensor, blocks: BlockMask) -> Tensor:
    mixed: Tensor = kernel(q, k, v, block_mask=blocks, enable_gqa=q.shape[1] != k.shape[1])
    return mixed


@lru_cache
def usable(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether a tiny forward and backward pass succeeds on `device`, in `dtype`, with heads of `head_dim` channels.

    Tried once in a process. Where it fails, standard error says so and why: kernels are compiled on the spot, so it
    takes Triton, a C compiler and a card that Triton knows.
    """
    if device.type != "cuda":
        return False
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            q = torch.randn(2, 2, 160, head_dim, device=device, dtype=dtype, requires_grad=True)
            k, v = (torch.randn_like(q[:, :1]).requires_grad_() for _ in range(2))
            blocks = block_mask(lambda row, query, key: query >= key + row, 2, 160, 160, device)
            torch.autograd.backward(attend_in_tiles(q, k, v, blocks).sum())
            torch.cuda.synchronize(device)
    except Exception as error:  # whatever compiler, driver and kernel raise: the other back end takes their place
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        print(
            f"FlexAttention can not be used on {device}, so attention computes whole matrices: {reason}",
            file=sys.stderr,
        )
        return False
    return True


@lru_cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at first use, so that importing this costs nothing."""
    compiled = torch.compile(function)

    def call(*arguments: Any, **options: Any) -> Any:
        # One compilation for each rule, dtype, head dim, and with or without gradients. A process that trains several
        # stages passes PyTorch's limit of 8, and from there on would hold whole matrices.
        with torch._dynamo.config.patch(recompile_limit=RECOMPILE_LIMIT):
            return compiled(*arguments, **options)

    return call
