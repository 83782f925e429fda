"""A dense decoder made sparse: every expert begins as a copy of the MLP in whose place it stands.

    blocks.1.mlp.gate_up.weight (2f, d)   →   blocks.1.mlp.gate_up.weight (E, d, 2f)   E equal matrices, transposed
                                              blocks.1.mlp.router.weight  (E, d)       drawn anew

Gates that are renormalised add up to 1, so the sparse model computes what the dense one did, whatever its router says,
until training makes the experts differ (Komatsuzaki et al. 2023, arXiv 2212.05055). Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mm1.config import UserError
from mm1.models.initialization import truncated_normal_
from mm1.models.mm1 import MM1Config
from mm1.models.moe import MoEConfig

MLP_LAYERS = ("gate_up", "up", "down")
"""Of a SwiGLU or a GELU MLP; a sparse layer calls its own by the same names."""


def upcycle(
    config: MM1Config, weights: Mapping[str, Tensor], moe: MoEConfig, seed: int = 0
) -> tuple[MM1Config, dict[str, Tensor]]:
    """The config and weights of the sparse twin. Copies share memory; what stays dense is the tensor that was given.

    Args:
        config: of a dense model.
        weights: all of its tensors, by name.
        moe: which layers become sparse, and how.
        seed: of the routers.

    Raises:
        UserError: the model is sparse already, or would not compute the same, or no layer would be sparse.
    """
    _check(config, moe)
    sparse = dict(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in filter(moe.is_sparse, range(config.decoder.num_layers)):
            prefix = f"decoder.blocks.{layer}.mlp."
            for name in (f"{prefix}{kind}.weight" for kind in MLP_LAYERS):
                if name in weights:
                    sparse[name] = weights[name].T.expand(moe.num_experts, -1, -1)
            router = torch.empty(moe.num_experts, config.decoder.dim)
            truncated_normal_(router)
            sparse[f"{prefix}router.weight"] = router.to(weights[f"{prefix}down.weight"])
    return config.replace(decoder=config.decoder.replace(moe=moe)), sparse


def _check(config: MM1Config, moe: MoEConfig) -> None:
    decoder = config.decoder
    if decoder.moe is not None:
        raise UserError(f"the model has {decoder.moe.num_experts} experts already: upcycle a dense one")
    if not moe.renormalise:
        raise UserError("gates that do not add up to 1 would change what the model computes: set renormalise=true")
    if moe.expert_dim not in (None, decoder.mlp_dim):
        raise UserError(
            f"experts of width {moe.expert_dim} cannot be copies of an MLP of width {decoder.mlp_dim}: "
            "leave expert_dim out"
        )
    if moe.every > decoder.num_layers:
        raise UserError(
            f"every={moe.every} makes none of the {decoder.num_layers} layers sparse: lower it to "
            f"{decoder.num_layers} or less"
        )
