"""What else is written down while stages train, as a person asks for it; no weights depend on it.

    Watch(profile=True, track="tensorboard")        # mm1 train … --profile --track tensorboard

Knows nothing of how it is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from mm1.train.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """No part of a stage's config, so a finished or interrupted stage is the same one, watched or not."""

    profile: bool = False
    """A trace of a few steps."""
    track: Tracker | None = None
    """Where the log's numbers also go."""


UNWATCHED = Watch()
