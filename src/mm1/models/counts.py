"""What a model costs: parameters by part, floating-point operations by part. Exact, and free on the meta device.

    with torch.device("meta"):
        parameters_by_part(MM1(config))            # {"image_encoder": …, "connector": …, "decoder_embedding": …, …}
    flops_forward(config, tokens=4096, images=16, attended_pairs=4096 * 4097 // 2)["total"]

An operation is a multiplication or an addition inside a matrix product or a convolution; norms and activations are not
counted. Of a sparse layer a token pays for its router and the experts that it chooses. Padding is not work: give real
lengths. Knows nothing of hardware, of time, or of what is trained.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mm1.models.connector import build_connector
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.experts import GroupedLinear
from mm1.models.image_encoder import ImageEncoder
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.moe import MoE

TRAINING_FACTOR = 3
"""A training step costs so many forwards: the backward of a product is two products of its size."""


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each child of `model`, and "total".

    A decoder counts as two parts, `…_embedding` (input and output matrices) and `…_non_embedding` (the N of the paper's
    learning-rate law). `…_active_non_embedding` is no part of the total: what one token passes through, which is all of
    `…_non_embedding` where no layer is sparse.
    """
    parts = {"image_encoder": 0, "connector": 0} if isinstance(model, MM1) else {}
    active = {}
    for name, child in model.named_children():
        if isinstance(child, Decoder):
            embedding = sum(_size(part) for part in (child.embedding, child.head) if part is not None)
            parts |= {f"{name}_embedding": embedding, f"{name}_non_embedding": _size(child) - embedding}
            active[f"{name}_active_non_embedding"] = _size(child) - embedding - _idle(child)
        else:
            parts[name] = _size(child)
    parts |= {name: parameter.numel() for name, parameter in model.named_parameters(recurse=False)}
    return {**parts, **active, "total": sum(parts.values())}


def flops_forward(
    config: MM1Config, tokens: int, images: int, attended_pairs: int, targets: int | None = None
) -> dict[str, int]:
    """Operations of one forward by part: image_encoder, connector, decoder, output (logits), total.

    Args:
        config: the model.
        tokens: positions that the decoder processes, images' places included, padding not.
        images: images encoded.
        attended_pairs: (query, key) pairs in the decoder's attention: n(n+1)/2 for a document of n positions, summed.
        targets: positions whose logits are computed; all `tokens` where None.
    """
    encoder, connector = _image_flops(config)
    per_token, per_pair, per_target = _decoder_flops(config.decoder)
    parts = {
        "image_encoder": encoder * images,
        "connector": connector * images,
        "decoder": per_token * tokens + per_pair * attended_pairs,
        "output": per_target * (tokens if targets is None else targets),
    }
    return {**parts, "total": sum(parts.values())}


@lru_cache(maxsize=64)
def _image_flops(config: MM1Config) -> tuple[int, int]:
    """Operations for one more image, in encoder and connector: measured, so that a new connector needs no formula."""
    if config.image_encoder is None or config.connector is None:
        return 0, 0
    # Interpolating positions is done once for all images, so they may as well fit. And all blocks are alike: of a large
    # encoder's running every one takes seconds, even without memory.
    shape = config.image_encoder.replace(position_size=None, num_layers_used=None)
    grid = shape.position_grid
    with torch.device("meta"):
        shallow = [ImageEncoder(shape.replace(num_layers=depth)) for depth in (1, 2)]
        connector = build_connector(config.connector, grid, shape.dim, config.decoder.dim)
    one, two = (_for_one_more(encoder, (3, shape.image_size, shape.image_size)) for encoder in shallow)
    encoder_flops = one + (config.image_encoder.depth - 1) * (two - one)
    return encoder_flops, _for_one_more(connector, (grid, grid, shape.dim))


def _for_one_more(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Operations that one more item of this shape costs."""
    one, two = (_measure(module, torch.empty(count, *shape, device="meta")) for count in (1, 2))
    return two - one


def _measure(module: nn.Module, argument: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(argument)
    flops: int = counter.get_total_flops()
    return flops


@lru_cache(maxsize=64)
def _decoder_flops(shape: DecoderConfig) -> tuple[int, int, int]:
    """Operations a position, an attended pair, and a position with logits."""
    with torch.device("meta"):
        blocks = Decoder(shape).blocks
    layers = [module for module in blocks.modules() if isinstance(module, nn.Linear | GroupedLinear)]
    weights = sum(layer.weight.numel() for layer in layers) - _idle(blocks)
    return 2 * weights, 4 * shape.num_layers * shape.num_heads * shape.dim_per_head, 2 * shape.dim * shape.vocab_size


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _idle(module: nn.Module) -> int:
    """Parameters under `module` of the experts that a token does not choose."""
    idle = 0
    for sparse in module.modules():
        if isinstance(sparse, MoE):
            experts, chosen = sparse.config.num_experts, sparse.config.top_k
            grouped = sum(_size(layer) for layer in sparse.modules() if isinstance(layer, GroupedLinear))
            idle += grouped // experts * (experts - chosen)
    return idle
