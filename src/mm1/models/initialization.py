"""How untrained parameters begin: normals cut at three standard deviations, and constants.

    beginning(decoder.norm.weight)                          # Beginning(value=1.0)
    beginning(decoder.blocks[0].attention.qkv.weight)       # Beginning(std=0.02): "truncated normal 0.02"
    fill(weight, beginning(weight), key_of(seed, name))     # of any part of it, on any device

What each parameter of a new model is to begin with is on record with it, also on the meta device. A model that is built
where there is memory is filled at once, from the caller's `torch.manual_seed`; for training, parameters are filled by
name and element instead, so that a rank draws its own shard and nothing else, and the weights are those of one process.
Knows kinds of layers, and nothing of what they are part of, nor of processes. MM1 does not publish its initialisation;
these are the usual choices.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int
from torch import Tensor, nn

from mm1.models.experts import GroupedLinear

STD = 0.02
"""Of linear layers, embeddings and position tables (GPT-2, ViT, and Honeybee's position table)."""
CUT = 3
"""Standard deviations at which normals are cut."""
AT_ONCE = 1 << 18
"""Elements drawn together: what a processor's cache holds."""
_RECORD = "mm1_beginning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a parameter begins with: one value, or a cut normal where `std` is given."""

    value: float = 0.0
    std: float = 0.0

    def __str__(self) -> str:
        return f"truncated normal {self.std:.3g}" if self.std else f"{self.value:.3g}"


def truncated_normal_(tensor: Tensor, std: float = STD) -> None:
    """Fills `tensor` from a normal cut at three standard deviations."""
    setattr(tensor, _RECORD, Beginning(std=std))
    if not tensor.is_meta:  # nothing to fill, and torch takes its time about it
        nn.init.trunc_normal_(tensor, std=std, a=-CUT * std, b=CUT * std)


def constant_(tensor: Tensor, value: float) -> None:
    """Fills `tensor` with one value."""
    setattr(tensor, _RECORD, Beginning(value=value))
    nn.init.constant_(tensor, value)


def filled(size: int, value: float) -> nn.Parameter:
    """A parameter of `size` equal values."""
    parameter = nn.Parameter(torch.empty(size))
    constant_(parameter, value)
    return parameter


def beginning(parameter: nn.Parameter) -> Beginning:
    """What this module filled `parameter` with, or would have if it had memory."""
    record: Beginning | None = getattr(parameter, _RECORD, None)
    assert record is not None, f"a parameter of shape {tuple(parameter.shape)} was not filled by this module"
    return record


def beginnings(model: nn.Module) -> dict[str, Beginning]:
    """Of every parameter, by name: to be asked for before the model is given memory, or is sharded."""
    return {name: beginning(parameter) for name, parameter in model.named_parameters()}


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


def key_of(seed: int, name: str) -> int:
    """A 64-bit key, for the parameter of that name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little", signed=True)


@torch.no_grad()
def fill(part: Tensor, begins: Beginning, key: int, places: Sequence[Int[Tensor, " _"]] | None = None) -> None:
    """Fills a parameter, or a part of it, element by element: the same numbers whoever fills which part.

    Args:
        part: of the parameter's dimensions; what is here of them.
        begins: with what.
        key: of the parameter.
        places: for each dimension, the flat positions of its slices in the whole parameter, on the device of `part`:
            those of an element add up to its number. None where `part` is the whole.
    """
    if not begins.std:
        part.fill_(begins.value)
    elif part.numel():
        first, *rest = whole(part.shape, part.device) if places is None else places
        inner = torch.zeros((), dtype=torch.int64, device=part.device)
        for place in rest:
            inner = inner[..., None] + place
        rows = max(1, AT_ONCE // inner.numel())
        for some, numbers in zip(torch.split(part, rows), torch.split(first, rows), strict=True):
            numbers = numbers.view(-1, *[1] * inner.ndim) + inner
            some.copy_(cut_normals(numbers, key).mul_(begins.std))


def whole(shape: torch.Size, device: torch.device) -> list[Int[Tensor, " _"]]:
    """`places` of a whole parameter of that shape."""
    strides = (math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return [torch.arange(size, device=device) * stride for size, stride in zip(shape, strides, strict=True)]


def cut_normals(numbers: Int[Tensor, "*shape"], key: int) -> Float32[Tensor, "*shape"]:
    """A number from the normal of width 1, cut at `CUT`, for each of `numbers`: a function of it and the key alone.

    splitmix64 (Steele et al. 2014) makes 24 random bits of it, and the inverse of the cut normal's distribution the
    rest.
    """
    mixed = (numbers + 1) * _signed(0x9E3779B97F4A7C15) + key
    mixed = (mixed ^ _shifted(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shifted(mixed, 27)) * _signed(0x94D049BB133111EB)
    bits = _shifted(mixed ^ _shifted(mixed, 31), 40)
    between = (bits.float() + 0.5) * 2.0**-23 - 1  # -1 … 1, both out of reach
    inside = math.erf(CUT / math.sqrt(2))
    return (between * inside).erfinv_().mul_(math.sqrt(2)).clamp_(-CUT, CUT)


def _signed(value: int) -> int:
    """The same 64 bits as torch's int64 has them; products wrap around."""
    return value - (1 << 64)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming after."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
