"""The one place where models meet processes and number formats.

    parallelize(model, config, world)    # experts → activation checkpointing → compile → FSDP2
    with autocast(precision, device):    # bfloat16 where the hardware has it; weights stay float32
        losses = objective(model, batch)

Models are single-device code and stay so. Knows the parts of MM1 and of CLIP by name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from mm1.config import UserError
from mm1.distributed.expert_parallel import ExpertExchange
from mm1.distributed.mesh import World
from mm1.models.experts import GroupedLinear, grouped_product
from mm1.models.moe import MoE
from mm1.train.blocks import checkpoint_blocks, compile_blocks, replace_forward
from mm1.train.layout import ParallelConfig, Precision
from mm1.train.objectives import Objective
from mm1.types import Batch, Losses

M = TypeVar("M", bound=nn.Module)


def resolve_precision(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """What "auto" means on `device`: bf16 on CUDA and on CPUs with AVX-512 bf16 instructions, fp32 elsewhere.

    Raises:
        UserError: bf16 is asked of a CPU without those instructions, where it would be many times slower than fp32.
    """
    fast = device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
    if precision == "bf16" and not fast:
        raise UserError("precision=bf16 needs CUDA or a CPU with avx512_bf16, which this one has not: use auto or fp32")
    return "bf16" if fast and precision != "fp32" else "fp32"


def autocast(precision: Literal["bf16", "fp32"], device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in bfloat16, parameters and everything delicate in float32; nothing at all for "fp32"."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context


def parallelize(
    model: nn.Module, config: ParallelConfig, world: World, precision: Literal["bf16", "fp32"] = "fp32"
) -> None:
    """Spreads `model` over the processes of `world`, in place: experts, what backward keeps, compilation, FSDP2.

    Gradients come back summed over the ranks, not averaged: the loop divides by the global number of targets.

    Args:
        model: the same on every rank, on the rank's device.
        config: a layout that has been checked.
        world: who takes part; one process shards nothing.
        precision: in which training computes.
    """
    mesh = world.expert_mesh(config.replicate, config.experts) if config.experts > 1 else None
    if mesh is not None:
        _deal_out_experts(model, mesh)
    checkpoint_blocks(model, config.activation_checkpointing)
    if config.compile:
        compile_blocks(model)
    if world.size > 1:
        _shard(model, config, world, mesh, gather_dtype(config, world.device, precision))


def gather_dtype(
    config: ParallelConfig, device: torch.device, precision: Literal["bf16", "fp32"]
) -> torch.dtype | None:
    """The dtype in which weights of blocks are gathered; None: that in which they are kept, float32.

    On the CPU "auto" leaves them as they are, so that the arithmetic is that of one process.
    """
    halved = config.gather_precision == "auto" and device.type == "cuda" and precision == "bf16"
    return torch.bfloat16 if halved else None


def _deal_out_experts(model: nn.Module, mesh: DeviceMesh) -> None:
    """Leaves a rank its share of every layer's experts, and lets tokens travel to those of the others."""
    axis = mesh["experts"]
    for moe in _of_type(model, MoE):
        moe.exchange = ExpertExchange(axis.get_group())
        for linear in _of_type(moe, GroupedLinear):
            weight = linear.weight
            # Every rank has the whole, so each keeps its own part and nothing is sent.
            own = distribute_tensor(weight.detach(), axis, [Shard(0)], src_data_rank=None)
            linear.weight = nn.Parameter(own, weight.requires_grad)
            replace_forward(linear, functools.partial(_local_product, linear))


def _local_product(linear: GroupedLinear, rows: Tensor, counts: Tensor) -> Tensor:
    """`GroupedLinear.forward` of the experts that live here."""
    weight: Tensor = linear.weight
    assert isinstance(weight, DTensor)
    return grouped_product(rows, weight.to_local(), counts, linear.backend)


def _shard(
    model: nn.Module, config: ParallelConfig, world: World, expert_mesh: DeviceMesh | None, dtype: torch.dtype | None
) -> None:
    """FSDP2: the image encoder's blocks one unit, each decoder block one, each layer's experts one, the rest one.

    Only what is cast to bfloat16 anyway, the blocks, is gathered in `dtype`; embeddings, the last norm and the output
    matrix are the rest. Inputs keep their dtypes: the residual stream and angles of positions are float32.
    """
    mesh = world.mesh(config.replicate)
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    common: dict[str, Any] = {"reshard_after_forward": config.reshard_after_forward, "mp_policy": policy}
    if expert_mesh is not None:
        axes = expert_mesh["expert_shard"] if config.replicate == 1 else expert_mesh["replicate", "expert_shard"]
        for moe in _of_type(model, MoE):
            # Rows of the matrices are cut, because their first dimension, the experts, is dealt out already.
            linears: list[nn.Module] = list(_of_type(moe, GroupedLinear))
            fully_shard(linears, mesh=axes, shard_placement_fn=lambda _: Shard(1), **common)
    for unit in _units(model):
        fully_shard(unit, mesh=mesh, **common)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def announce(config: ParallelConfig, model: nn.Module, is_last: bool) -> None:
    """Tells a sharded model before a microbatch whether it is a step's last, so that nothing travels twice in vain.

    Gradients are summed over copies by the last one alone; with `reduce_gradients="last"` also over the ranks of a
    shard. What stays gathered from forward to backward (all that belongs to no block; with
    `reshard_after_forward=False` the blocks too) stays so until the last backward is done: nothing moves before.
    """
    if not isinstance(model, FSDPModule):
        return
    model.set_is_last_backward(is_last)
    if config.reduce_gradients == "last":
        model.set_requires_gradient_sync(is_last)
    model.set_requires_all_reduce(is_last)
    model.set_reshard_after_backward(is_last, recurse=not config.reshard_after_forward)


def _units(model: nn.Module) -> list[list[nn.Module]]:
    """Modules that are gathered together, one group at a time; what is left stays gathered from forward to backward."""
    encoder = getattr(model, "image_encoder", None)
    decoders = [getattr(model, name) for name in ("decoder", "text_tower") if hasattr(model, name)]
    return [
        *([] if encoder is None else [list(encoder.blocks)]),
        *([block] for part in decoders for block in part.blocks),
    ]


def _of_type(model: nn.Module, kind: type[M]) -> Iterator[M]:
    return (module for module in model.modules() if isinstance(module, kind))


def gathered(tensors: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """`tensors`, whole and on the host, on the first rank; nothing on others. A collective when there are many ranks.

    One after another, so that no device holds more than one of them: all together may not fit.
    """
    found = {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if world.is_first:
            found[name] = whole.detach().cpu()
    return found


def reporting_traffic(objective: Objective, model: nn.Module, config: ParallelConfig, microbatches: int) -> Objective:
    """`objective`, whose extra values also have `all_to_all_bytes` where experts are dealt out to several processes.

    That is what leaves a rank for others in a step of `microbatches`, backward included: a mean over ranks.
    """
    exchanges = [moe.exchange for moe in _of_type(model, MoE) if isinstance(moe.exchange, ExpertExchange)]
    if not exchanges:
        return objective
    times = microbatches * config.crossings // 2  # of which forward, where they are counted, has two

    def measured(model: nn.Module, batch: Batch) -> Losses:
        for exchange in exchanges:
            exchange.take_bytes()  # of the backward before, which is counted as that of this forward
        losses = objective(model, batch)
        sent = times * sum(exchange.take_bytes() for exchange in exchanges)
        extra = {**losses.extra, "all_to_all_bytes": torch.full_like(losses.count, sent)}
        return replace(losses, extra=extra)

    return measured
