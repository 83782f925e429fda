"""What an engine has done so far, as values that can be subtracted.

    before = engine.statistics
    engine.generate(prompts)
    done = engine.statistics - before
    done.prefix_hit_share, done.images_encoded, done.tokens_per_second

Knows nothing of who measured.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Sums over all calls of an engine. A position is a text token or one of an image's tokens."""

    prompts: int = 0
    prompt_positions: int = 0
    """Of all prompts (and, for likelihoods, continuations) as they were asked, whatever they share."""
    prefilled_positions: int = 0
    """Those among them that were computed: the rest stood in the memory or was shared within a batch."""
    padding_positions: int = 0
    """Computed besides, and thrown away."""
    images: int = 0
    """Asked about, as often as they stand in prompts."""
    images_encoded: int = 0
    new_tokens: int = 0
    """In completions, EOS not counted."""
    seconds: float = 0.0
    """Inside the engine's calls."""
    encoding_seconds: float = 0.0
    """Of these, in the image encoder and connector."""

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Statistics)})

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Statistics)})

    @property
    def prefix_hit_share(self) -> float:
        """Share of the prompts' positions that did not have to be computed; 0 where nothing was asked."""
        return 1 - self.prefilled_positions / self.prompt_positions if self.prompt_positions else 0.0

    @property
    def padding_share(self) -> float:
        """Share of what was computed for prompts that was padding."""
        computed = self.prefilled_positions + self.padding_positions
        return self.padding_positions / computed if computed else 0.0

    @property
    def tokens_per_second(self) -> float:
        """New tokens by all the time spent, prompts included."""
        return self.new_tokens / self.seconds if self.seconds else 0.0

    @property
    def images_per_second(self) -> float:
        """Images encoded by the time spent on encoding."""
        return self.images_encoded / self.encoding_seconds if self.encoding_seconds else 0.0
