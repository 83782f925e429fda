"""Pages and images from the web: politely, safely, and each address asked once.

    with Tombstones(folder / "tombstones.jsonl") as tombstones:
        for got in fetch(urls, FetchConfig(), tombstones):
            keep(got.url, got.data) if got.data is not None else count(got.reason)

    urls ─ parse_url ─> Schedule (turns of hosts) ─> Client (one request, guarded address) ─> content checks ─> Fetched
              │               ↑ redirects, retries ────────┘                                                     │
              └─ tombstones: what failed before is answered from the record <────────────────────────────────────┘

Knows nothing of what is made of the bytes.
"""

from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.fetch import fetch
from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.tombstones import Tombstones

__all__ = ["FetchConfig", "Fetched", "Tombstones", "fetch"]
