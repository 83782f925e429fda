"""A stage's model with its initial weights, on the rank's device and spread over the processes.

    model = initial_model(config, {"image_encoder": clip_weights}, world)

    structure (no memory) → frozen → parallelised → memory for this rank's shards → filled: drawn, or read from files

No rank ever holds the whole: a model of 126 GB begins on GPUs of 80, and each draws only what is its own. Knows the
parts of MM1 by name, and nothing of optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor

from mm1.config import UserError
from mm1.distributed.mesh import World
from mm1.models.image_encoder import ImageEncoder
from mm1.models.initialization import Beginning, beginnings, fill, key_of, whole
from mm1.models.weights import load_weights
from mm1.train.blocks import settle_kernels
from mm1.train.optimizer import freeze
from mm1.train.parallelize import parallelize, resolve_precision
from mm1.train.stage import StageConfig


def initial_model(config: StageConfig, init_weights: Mapping[str, Path], world: World) -> nn.Module:
    """The model as training begins with it; `init_weights` are safetensors files by name prefix.

    Raises:
        UserError: a prefix is no part of the model, or a file does not fit it.
    """
    model = config.structure()
    begins = beginnings(model)
    freeze(model, config.optimizer)
    parallelize(model, config.parallel, world, resolve_precision(config.precision, world.device))
    model.to_empty(device=world.device)
    settle_kernels(model)
    draw(model, begins, config.seed)
    for prefix, path in init_weights.items():
        part = _part(model, prefix)
        if isinstance(part, ImageEncoder):  # it may be the first blocks of the encoder in the file
            load_weights(part, path, prefix, part.config.leaves_out, put=put)
        else:
            load_weights(part, path, prefix, put=put)
    return model


def draw(model: nn.Module, begins: Mapping[str, Beginning], seed: int) -> None:
    """Fills every parameter, or this rank's shard of it, with what it begins with."""
    for name, parameter in model.named_parameters():
        own = parameter.detach()
        if isinstance(own, DTensor):
            fill(own.to_local(), begins[name], key_of(seed, name), _places(own))
        else:
            fill(own, begins[name], key_of(seed, name))


def _places(tensor: DTensor) -> list[Tensor]:
    """Where this rank's slices lie in the whole, as `fill` wants them: each axis dealt out as the tensor's is."""
    found = []
    for axis, positions in enumerate(whole(tensor.shape, tensor.device)):
        cuts: list[Placement] = [Shard(0) if cut.is_shard(axis) else Replicate() for cut in tensor.placements]
        found.append(distribute_tensor(positions, tensor.device_mesh, cuts, src_data_rank=None).to_local())
    return found


def put(tensor: Tensor, value: Tensor) -> None:
    """Copies the whole `value` into `tensor`, or this rank's part of it."""
    if isinstance(tensor, DTensor):
        own = distribute_tensor(value, tensor.device_mesh, tensor.placements, src_data_rank=None)
        tensor.to_local().copy_(own.to_local())
    else:
        tensor.copy_(value)


def _part(model: nn.Module, prefix: str) -> nn.Module:
    try:
        return model.get_submodule(prefix)
    except AttributeError:
        names = [name for name, _ in model.named_children()]
        raise UserError(f"init names '{prefix}', which is no part of the model: its parts are {names}") from None
