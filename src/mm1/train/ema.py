"""A moving average of the weights, kept beside them: what a noisy end of training would average out.

    average ← average + (1 - decay) · (weights - average)          after every step from `start` on

Young averages follow faster: in step n after `start` the decay is at most (1 + n) / (10 + n), so that the first weights
are forgotten whatever the decay is. The average is sharded as the parameters are, costs as much memory as they do in
float32, and is part of checkpoints. Frozen parameters and buffers have none: they are their own average. Knows nothing
of models.

Polyak & Juditsky 1992; the bound on young averages is that of TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mm1.config import Config


class EMAConfig(Config):
    """An exponential moving average of the weights."""

    decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Share of the average that a step leaves; 0.999 looks back over about 1000 steps."""
    start: NonNegativeInt = 0
    """Steps before averaging begins; until then the average is the weights themselves."""
    written: Literal["average", "last"] = "average"
    """Which weights model.safetensors holds in the end, and so what later stages and evaluations take."""


class Average:
    """The average of the parameters that move, by name."""

    def __init__(self, model: nn.Module, config: EMAConfig) -> None:
        """Begins with the model's weights, as they are sharded."""
        self._config = config
        self._weights = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.tensors = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        """By the parameters' names; aliases, so that loading fills them in place."""

    @torch.no_grad()
    def update(self, step: int, skip: Tensor) -> None:
        """Follows the weights after step `step`, counted from 0.

        `skip` is a float scalar on the device: where it is not 0 the average stays, and the host need not know.
        """
        age = step - self._config.start
        decay = min(self._config.decay, (1 + age) / (10 + age)) if age >= 0 else 0.0
        share = (1 - decay) * (1 - skip)
        for name, weight in self._weights.items():
            _local(self.tensors[name]).lerp_(_local(weight.detach()), share)

    def instead_of(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A model's `state` with the averages in their places; nothing, if the config says so."""
        return {**state, **self.tensors} if self._config.written == "average" else dict(state)


def _local(tensor: Tensor) -> Tensor:
    """What this rank holds; an alias."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
