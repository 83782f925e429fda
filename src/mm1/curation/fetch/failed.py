"""Why an address gave nothing, and which of these reasons may pass.

    try again in this run      temporary: in a later run          permanent
    timeout, http_503, …       no_such_host, host_down, …         everything else: http_404, robots, too_large, …

Knows nothing of HTTP.
"""

from __future__ import annotations

from mm1.curation.page import Dropped

TRY_AGAIN = frozenset(
    ["connect_timeout", "timeout", "too_slow", "connection_failed", "connection_lost", "truncated", "dns_failed"]
    + [f"http_{status}" for status in (408, 425, 429, 500, 502, 503, 504)]
)
"""What may be gone in a few seconds."""

HOST_OUT_OF_REACH = frozenset(["connect_timeout", "connection_failed", "dns_failed", "tls", "no_such_host"])
"""What speaks against the whole host, not against one address."""


class Failed(Dropped):
    """An address gives nothing, for now or for good, as its `reason` says."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds for which the server asked us to stay away."""


def is_permanent(reason: str) -> bool:
    """Whether an address that failed for `reason` is never asked again."""
    temporary = TRY_AGAIN | HOST_OUT_OF_REACH | {"host_down", "retry_later", "robots_unreachable", "crawl_delay"}
    return reason not in temporary and not reason.startswith("http_5")
