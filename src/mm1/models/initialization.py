"""How untrained parameters begin: truncated normals, seeded by the caller's `torch.manual_seed`, and constants.

    beginning(decoder.norm.weight)      # "1"
    beginning(decoder.blocks[0].attention.qkv.weight)      # "truncated normal 0.02"

What each parameter of a new model was given is on record with it, so that a model without memory (the meta device) can
tell as well. Knows kinds of layers, and nothing of what they are part of. MM1 does not publish its initialisation;
these are the usual choices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mm1.models.experts import GroupedLinear

STD = 0.02
"""Of linear layers, embeddings and position tables (GPT-2, ViT, and Honeybee's position table)."""
_RECORD = "mm1_beginning"


def truncated_normal_(tensor: Tensor, std: float = STD) -> None:
    """Fills `tensor` from a normal cut at three standard deviations."""
    setattr(tensor, _RECORD, f"truncated normal {std:.3g}")
    if not tensor.is_meta:  # nothing to fill, and torch takes its time about it
        nn.init.trunc_normal_(tensor, std=std, a=-3 * std, b=3 * std)


def constant_(tensor: Tensor, value: float) -> None:
    """Fills `tensor` with one value."""
    setattr(tensor, _RECORD, f"{value:.3g}")
    nn.init.constant_(tensor, value)


def filled(size: int, value: float) -> nn.Parameter:
    """A parameter of `size` equal values."""
    parameter = nn.Parameter(torch.empty(size))
    constant_(parameter, value)
    return parameter


def beginning(parameter: nn.Parameter) -> str:
    """What this module filled `parameter` with: "0", "1", "truncated normal 0.02"."""
    record: str | None = getattr(parameter, _RECORD, None)
    assert record is not None, f"a parameter of shape {tuple(parameter.shape)} was not filled by this module"
    return record


def initialise(module: nn.Module, num_layers: int = 0, residual_outputs: tuple[str, ...] = ()) -> None:
    """Draws all linear (also grouped), convolution and embedding weights under `module`; biases become 0, the weights
    of norms 1.

    Convolutions keep the variance of their input (std = 1/√fan_in): several follow one another without a norm. The
    linear layers whose last name is in `residual_outputs` get STD/√(2·num_layers), so that the sum of all branches
    has the size of one (GPT-2).
    """
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | GroupedLinear):
            residual = name.rpartition(".")[2] in residual_outputs
            truncated_normal_(child.weight, STD / (2 * num_layers) ** 0.5 if residual else STD)
        elif isinstance(child, nn.Conv2d):
            truncated_normal_(child.weight, child.weight[0].numel() ** -0.5)
        elif isinstance(child, nn.Embedding):
            truncated_normal_(child.weight)
        elif isinstance(child, nn.LayerNorm | nn.RMSNorm):
            constant_(child.weight, 1.0)
        bias = getattr(child, "bias", None)
        if isinstance(bias, nn.Parameter):
            constant_(bias, 0.0)
