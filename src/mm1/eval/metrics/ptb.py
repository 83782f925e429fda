"""provisional"""

from __future__ import annotations


def tokenise(caption: str) -> list[str]:
    """Provisional."""
    return caption.lower().rstrip(".").split()
