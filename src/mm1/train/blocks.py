"""What is done to each block of a model, whatever it is a block of: computed twice instead of kept, compiled.

    checkpoint_blocks(model, "selective")    # backward computes again what is cheap
    compile_blocks(model)                    # one compilation for all blocks of a kind

A block is a child of a `blocks` list. Only its `forward` is replaced, so names of parameters and hooks stay. Knows
nothing of processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from mm1.models.attention import AttentionMask, prepare
from mm1.models.decoder import Block
from mm1.models.experts import GroupedLinear, compute_dtype, kernel_works
from mm1.models.image_encoder import EncoderBlock
from mm1.models.moe import MoE, all_here
from mm1.train.layout import Checkpointing, block_checkpointing

KEPT = (
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::_grouped_mm",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "flex_attention",
)
"""Operators whose outputs "selective" keeps: nearly all the arithmetic of a block."""


def checkpoint_blocks(model: nn.Module, mode: Checkpointing) -> None:
    """Lets backward compute a block's intermediate values again instead of keeping them; the results are the same bits.

    "full" keeps only what goes into a block, and pays a whole forward more. "selective" keeps the outputs of matrix
    products and attention besides, and pays only for norms, activations, gates and rotations: chosen over checkpointing
    every second block, which pays half a forward for half of the memory. Blocks whose experts are dealt out are
    checkpointed in full (`layout.block_checkpointing` says why).
    """
    if mode == "none":
        return
    settle_kernels(model)
    for block in _blocks(model):
        selective = block_checkpointing(mode, _exchanges(block)) == "selective"
        contexts: dict[str, Any] = {"context_fn": _keeping_products} if selective else {}
        # Nothing in a step is random, so there is no state of a generator to put back.
        again = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False, **contexts)
        replace_forward(block, again)


def _exchanges(block: nn.Module) -> bool:
    return any(isinstance(module, MoE) and module.exchange is not all_here for module in block.modules())


def settle_kernels(model: nn.Module) -> None:
    """Tries kernels now that are else tried at first use, inside a block, where it would pass for part of the block.

    Of a model without memory nothing can be said: whoever gives it some calls this then.
    """
    for module in model.modules():
        if isinstance(module, GroupedLinear) and not module.weight.is_meta:
            for dtype in (torch.float32, torch.bfloat16):
                kernel_works(module.weight.device.type, dtype)


def _keeping_products() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    contexts: tuple[AbstractContextManager[None], AbstractContextManager[None]]
    contexts = create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]
    return contexts


def _policy(context: Any, operator: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    kept = operator.name().partition(".")[0] in KEPT
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def compile_blocks(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compiles each block's forward, at its first use; blocks of a kind share the code.

    A decoder's rows have one length, or, where padding is dropped, several: its blocks are then compiled once more, for
    any, when they meet the second. Numbers of images vary from step to step, so that dimension is symbolic from the
    first; PyTorch treats sizes 0 and 1 as constants, and those run as they are. Nothing else is compiled twice,
    whatever the data are.
    """
    settle_kernels(model)
    for block in _blocks(model):
        replace_forward(block, _compiled(block, block.forward, backend))


def _compiled(block: nn.Module, forward: Callable[..., Any], backend: str | Callable[..., Any]) -> Callable[..., Any]:
    fast, varies = torch.compile(forward, backend=backend), not isinstance(block, Block)

    def call(hidden: Tensor, *rest: Any) -> Any:
        if varies and hidden.shape[0] < 2:
            return forward(hidden, *rest)
        masks = [argument for argument in rest if isinstance(argument, AttentionMask)]
        for mask in masks:
            prepare(mask, hidden.device, compute_dtype(hidden), _head_dim(block))
        if varies:
            for tensor in (hidden, *(made for mask in masks for made in vars(mask).values())):
                if isinstance(tensor, Tensor):
                    torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return fast(hidden, *rest)

    return call


def _head_dim(block: nn.Module) -> int:
    if isinstance(block, Block):
        return block.attention.head_dim
    assert isinstance(block, EncoderBlock)
    return block.qkv.in_features // block.num_heads


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    lists = [child for name, child in model.named_modules() if name.rpartition(".")[2] == "blocks"]
    return (block for blocks in lists for block in blocks.children())


def replace_forward(module: nn.Module, forward: Callable[..., Any]) -> None:
    """Puts another function in the place of `module.forward`, of this module alone; its hooks stay around it."""
    module.__dict__["forward"] = forward
