"""What the engine is asked, and what it answers.

    Prompt.of(encoder.encode(document, end=False), max_new_tokens=12)
    Completion(tokens=(17, 4), logprobs=(-0.1, -0.7), finish_reason="eos")

Knows nothing of models or text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from mm1.config import UserError
from mm1.generate.sampling import SamplingConfig
from mm1.types import Sample

StopFunction: TypeAlias = Callable[[Sequence[int]], bool]
"""Asked after every new token with all new tokens so far; True ends the completion, that token included."""

GREEDY = SamplingConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request. The images take `num_image_tokens` positions each, beginning at `image_starts`.

    Raises:
        UserError: no token at all, no new token asked for, or images and their places differ in number.
    """

    tokens: np.ndarray
    """(S,) integers."""
    image_starts: np.ndarray | Sequence[int] = ()
    images: tuple[np.ndarray, ...] = ()
    """(H, W, 3) uint8 each, in the order of their places."""
    max_new_tokens: int = 32
    stop: StopFunction | None = None
    stop_tokens: frozenset[int] = frozenset()
    """Ends the completion as EOS does: it is not part of it."""
    sampling: SamplingConfig = GREEDY

    def __post_init__(self) -> None:
        if len(self.tokens) == 0:
            raise UserError("a prompt has no tokens: give the model something to continue")
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens is {self.max_new_tokens}: ask for at least 1")
        if len(self.image_starts) != len(self.images):
            raise UserError(f"a prompt has {len(self.images)} images for {len(self.image_starts)} places: give as many")

    @staticmethod
    def of(
        sample: Sample,
        max_new_tokens: int = 32,
        stop: StopFunction | None = None,
        sampling: SamplingConfig = GREEDY,
        stop_tokens: frozenset[int] = frozenset(),
    ) -> Prompt:
        """The prompt that a Sample of one segment makes."""
        return Prompt(
            tokens=sample.tokens,
            image_starts=sample.image_starts,
            images=sample.images,
            max_new_tokens=max_new_tokens,
            stop=stop,
            stop_tokens=stop_tokens,
            sampling=sampling,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """The new tokens of one prompt, without the EOS or the stop token that may have ended them."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural logarithm of each token's probability under the model itself: temperature 1, nothing cut off."""
    finish_reason: Literal["eos", "stop", "length"]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of a continuation after its prompt."""

    logprob: float
    """The sum over its tokens of the natural logarithms of their probabilities."""
    is_greedy: bool
    """Whether greedy generation would have said just this."""
