"""How a process ends because another rank is gone. Knows nothing of how that is noticed, and imports no torch."""

from __future__ import annotations

EX_UNAVAILABLE = 69
"""The exit code of a rank that leaves because another is gone (sysexits.h)."""


class RankLost(Exception):
    """Another rank is gone: one sentence. No mistake of the user's, and another start may well go on."""
