"""Whose an address is: the name of its host, and the bucket that all addresses of that host are in.

    host_of("http://Bücher.example:8080/a")       # "xn--bcher-kva.example"
    bucket_of("http://bücher.example/b", 256)     # 1 to 256, the same for every address of that host
    bucket_of("local:img/a.png", 256)             # 0: it needs no download

Lists of pages and of images are downloaded by such buckets, each by one process at a time, so that limits per host hold
within it; and what came is kept by them. Knows nothing of the network.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mm1.curation.fetch.failed import Failed
from mm1.curation.fetch.urls import parse_url
from mm1.curation.lookups import key_of

BUCKETS_AT_ONCE = 64
"""That one process downloads together: many hosts take turns, and a few files are open for each bucket, of the 1,024
that a process may often have in all."""
_ANY_PORT = range(1 << 16)


def host_of(url: str) -> str:
    """The name of an address's host, by which its manners count: without port, spelled as the downloader spells it."""
    name = (urlsplit(url).hostname or "").removesuffix(".")
    if name.isascii() and ":" not in name:
        return name
    try:
        return parse_url(url, _ANY_PORT).raw_host or name
    except Failed:  # no name of a host, which the downloader refuses
        return name


def bucket_of(url: str, buckets: int) -> int:
    """0 for what needs no download, else one of `buckets` from 1, the same for all addresses of a host."""
    return bucket_for(host_of(url), buckets) if url.lower().startswith(("http:", "https:")) else 0


def bucket_for(name: str, buckets: int) -> int:
    """One of `buckets` from 1, by the name of a host or of whatever else must have a place."""
    return 1 + key_of(name) % buckets
