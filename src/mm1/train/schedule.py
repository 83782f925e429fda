"""The learning rate's factor as a pure function of the step.

    cosine                     1 ┐ ╱‾‾╲          constant_then_linear     ╱‾‾‾‾‾╲
                               0 ┘╱     ╲__                              ╱        ╲__

Knows nothing of optimizers: a factor of 1 is the peak.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, NonNegativeInt

from mm1.config import Config


class ScheduleConfig(Config):
    """Linear warm-up to 1, then a decay to `final_fraction` at the last step."""

    shape: Literal["cosine", "constant_then_linear"] = "cosine"
    """MM1 decays by a cosine; holding and then falling linearly is what the tiny recipe does."""
    warmup_steps: NonNegativeInt = 0
    """Steps until the peak; MM1 takes 2000."""
    final_fraction: float = Field(default=0.1, ge=0.0, le=1.0)
    """The factor at the end; MM1 decays to 0.1 of the peak."""
    hold_fraction: float = Field(default=0.6, ge=0.0, le=1.0)
    """Share of all steps after which "constant_then_linear" begins to fall."""

    def factor(self, step: int, steps: int) -> float:
        """The factor of `step` (from 0) out of `steps`: never 0 while warming up, `final_fraction` at the last step
        (where there is one after warm-up and hold).
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        begin = self.warmup_steps
        if self.shape == "constant_then_linear":
            begin = max(begin, round(self.hold_fraction * steps))
        progress = min(1.0, max(0.0, (step - begin + 1) / max(1, steps - begin)))
        fall = 1 - progress if self.shape == "constant_then_linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.final_fraction + (1 - self.final_fraction) * fall
