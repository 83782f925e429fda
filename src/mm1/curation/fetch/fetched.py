"""What came of an address: bytes, or the reason why there are none.

Knows nothing of how it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome of one address. Nothing in it tells when or in which order it was fetched."""

    url: str
    """As it was asked for."""
    data: bytes | None = None
    """The content, its Content-Encoding undone; None where there is a reason."""
    reason: str = ""
    """Why there is no data, in a few fixed words fit for counting: http_404, too_large; empty where there is data."""
    permanent: bool = False
    """Whether asking again is pointless or unwelcome; a temporary failure may be gone tomorrow."""
    final_url: str = ""
    """Where the last redirect led; empty where nothing was asked."""
    media_type: str = ""
    """What the server said it is, lower case, without parameters: text/html. Said, not trusted."""
    charset: str = ""
    """What the server said of its letters, lower case: utf-8; empty where it said nothing."""
