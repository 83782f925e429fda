"""How untrained parameters begin: truncated normals, seeded by the caller's `torch.manual_seed`.

Knows kinds of layers, and nothing of what they are part of. MM1 does not publish its initialisation; these are the
usual choices.
"""

from __future__ import annotations

from torch import Tensor, nn

from mm1.models.experts import GroupedLinear

STD = 0.02
"""Of linear layers, embeddings and position tables (GPT-2, ViT, and Honeybee's position table)."""


def truncated_normal_(tensor: Tensor, std: float = STD) -> None:
    """Fills `tensor` from a normal cut at three standard deviations."""
    nn.init.trunc_normal_(tensor, std=std, a=-3 * std, b=3 * std)


def initialise(module: nn.Module, num_layers: int = 0, residual_outputs: tuple[str, ...] = ()) -> None:
    """Draws all linear (also grouped), convolution and embedding weights under `module`; biases become 0.

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
        bias = getattr(child, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)
