"""Rotary positions: each pair of a head's channels turned by an angle that grows with the place in the document.

    positions (B, S) → angles position · frequency, one frequency a pair → Rotary(cos, sin) → rotate queries and keys

    rotary = Rotary.from_positions(positions, head_dim=64, theta=500_000.0, scaling=Llama3Scaling(factor=8, …))

Decoders that were trained on short documents and then stretched carry a scaling of the frequencies; the three kinds
here are those of Llama, Mistral, Qwen and OLMo checkpoints, as Hugging Face's `ROPE_INIT_FUNCTIONS` compute them.
Shape letters: B batch, S positions, K head dim. Knows nothing of masks, caches or layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from mm1.config import Config


class LinearScaling(Config):
    """Every frequency divided: positions between the trained ones (Chen et al. 2023, arXiv 2306.15595)."""

    kind: Literal["linear"] = "linear"
    factor: float = Field(ge=1.0)
    """How many times longer documents become."""

    @property
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0

    def scale(self, frequencies: Float[Tensor, " half"], theta: float) -> Float[Tensor, " half"]:
        """The frequencies of the stretched decoder from those of the unstretched one."""
        return frequencies / self.factor


class Llama3Scaling(Config):
    """Slow turns are stretched, fast ones kept, those between blended (Llama 3.1, arXiv 2407.21783, section 3.4.2)."""

    kind: Literal["llama3"] = "llama3"
    factor: float = Field(ge=1.0)
    original_len: PositiveInt
    """Longest document before stretching."""
    low_freq_factor: PositiveFloat = 1.0
    """A pair that turns fewer times than this within `original_len` is stretched whole …"""
    high_freq_factor: PositiveFloat = 4.0
    """… and one that turns more often than this not at all."""

    @model_validator(mode="after")
    def _check(self) -> Llama3Scaling:
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} is not below high_freq_factor {self.high_freq_factor}: "
                "nothing would be between them, so exchange them"
            )
        return self

    @property
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0

    def scale(self, frequencies: Float[Tensor, " half"], theta: float) -> Float[Tensor, " half"]:
        """The frequencies of the stretched decoder from those of the unstretched one."""
        turns = self.original_len / (2 * math.pi / frequencies)
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return _blend(frequencies / self.factor, frequencies, kept.clamp(0, 1))


class YarnScaling(Config):
    """As Llama 3's, blended along the pairs' numbers, and attention sharpened (Peng et al. 2023, arXiv 2309.00071)."""

    kind: Literal["yarn"] = "yarn"
    factor: float = Field(ge=1.0)
    original_len: PositiveInt
    """Longest document before stretching."""
    beta_fast: PositiveFloat = 32.0
    """The blend begins at the pair that turns this often within `original_len` …"""
    beta_slow: PositiveFloat = 1.0
    """… and ends at the one that turns this often."""
    attention_factor: PositiveFloat | None = None
    """What cosines and sines are multiplied by: 0.1 ln(factor) + 1, as in the paper, where None."""
    truncate: bool = True
    """Whether the blend begins and ends at whole pairs."""

    @property
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return 0.1 * math.log(self.factor) + 1.0 if self.attention_factor is None else self.attention_factor

    def scale(self, frequencies: Float[Tensor, " half"], theta: float) -> Float[Tensor, " half"]:
        """The frequencies of the stretched decoder from those of the unstretched one."""
        half = len(frequencies)
        first, last = (self._pair_turning(times, half, theta) for times in (self.beta_fast, self.beta_slow))
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        # The upper bound is the head's last channel, not its last pair: so it is in the authors' code and its ports.
        first, last = max(first, 0), min(last, 2 * half - 1)
        pairs = torch.arange(half, device=frequencies.device, dtype=torch.float32)
        stretched = ((pairs - first) / (last - first or 0.001)).clamp(0, 1)
        return _blend(frequencies / self.factor, frequencies, 1 - stretched)

    def _pair_turning(self, times: float, half: int, theta: float) -> float:
        """Which pair turns so often within `original_len`; between two of them in general."""
        return half * math.log(self.original_len / (times * 2 * math.pi)) / math.log(theta)


RopeScalingConfig: TypeAlias = Annotated[LinearScaling | Llama3Scaling | YarnScaling, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding in the rotate-half convention of Hugging Face's Llama; float32, made once a forward.

    Su et al. 2021 (arXiv 2104.09864). MM1 does not publish its positions; AXLearn's published decoders use rotary ones.
    """

    cos: Float[Tensor, "B S 1 K"]
    sin: Float[Tensor, "B S 1 K"]

    @staticmethod
    def from_positions(
        positions: Int[Tensor, "B S"], head_dim: int, theta: float, scaling: RopeScalingConfig | None = None
    ) -> Rotary:
        """Angles of `positions`: pair i of a head's K / 2 turns by theta^(-2i / K) a position, before scaling."""
        exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
        frequencies = 1.0 / theta**exponent
        if scaling is not None:
            frequencies = scaling.scale(frequencies, theta)
        angles = positions[..., None, None].float() * frequencies
        cos, sin = angles.cos().repeat(1, 1, 1, 2), angles.sin().repeat(1, 1, 1, 2)
        if scaling is not None and scaling.amplitude != 1.0:
            cos, sin = cos * scaling.amplitude, sin * scaling.amplitude
        return Rotary(cos, sin)

    def rotate(self, x: Float[Tensor, "B S heads K"]) -> Float[Tensor, "B S heads K"]:
        """`x` turned by its positions' angles, in the dtype of `x`."""
        first, second = x.chunk(2, dim=-1)
        return (x * self.cos + torch.cat([-second, first], dim=-1) * self.sin).to(x.dtype)


def _blend(stretched: Tensor, kept: Tensor, share_kept: Tensor) -> Tensor:
    return stretched * (1 - share_kept) + kept * share_kept
