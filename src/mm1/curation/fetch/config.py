"""How to download: whom to ask how often, how long to wait, what to refuse.

    FetchConfig(accept="html", user_agent="acme-research/1.0 (+https://acme.example/crawler; crawler@acme.example)")

Defaults are meant for strangers' servers: slow for one host, fast over many. Knows nothing of HTTP.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from mm1 import __version__
from mm1.config import Config, Seed, to_json
from mm1.data.image import MAX_PIXELS

MAX_URL = 8192
"""Characters of an address, as found; a longer one is not asked for."""

_MANNERS = ("concurrency", "per_host", "host_delay_seconds", "max_waiting", "backoff_seconds", "seed")


class FetchConfig(Config):
    """Limits and manners of the downloader. Memory is at most about `concurrency` times `max_bytes`."""

    accept: Literal["image", "html"] = "image"
    """What is wanted; anything else is refused by its first bytes, whatever the server calls it."""

    user_agent: str = (
        f"mm1/{__version__} (collects pages and images to train models; opt out: robots.txt, X-Robots-Tag)"
    )
    """Sent with every request; its first word up to the slash is the name that robots.txt is searched for. Put an
    address in it under which you can be reached."""
    robots: bool = True
    """Whether robots.txt is obeyed (RFC 9309)."""
    also_obey: tuple[str, ...] = ("CCBot", "GPTBot", "Google-Extended")
    """Names whose own groups in robots.txt, and in X-Robots-Tag, count for us too: a site that shuts out the known
    collectors of training data does not want this one either."""
    opt_out: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex", "none")
    """Words in X-Robots-Tag, or in a page's <meta name=robots>, that refuse the content; () ignores them."""
    tdm_reservation: bool = True
    """Whether `tdm-reservation: 1` (header or meta tag; W3C TDMRep) refuses the content."""

    concurrency: Annotated[int, Field(ge=1, le=4096)] = 64
    """Requests at the same time, and bodies held in memory."""
    per_host: PositiveInt = 2
    """Requests at the same time to one host name."""
    host_delay_seconds: NonNegativeFloat = 0.5
    """From the start of one request to a host to the start of the next; a Crawl-delay in robots.txt can lengthen it."""
    max_crawl_delay_seconds: NonNegativeFloat = 30.0
    """A host whose Crawl-delay is longer is left alone (reason crawl_delay)."""
    host_failures: PositiveInt = 8
    """After so many requests in a row that could not reach a host, the rest of its addresses are given up
    (host_down)."""
    max_waiting: PositiveInt = 20_000
    """Addresses read ahead, so that many hosts can take turns; each of at most MAX_URL characters."""

    retries: NonNegativeInt = 2
    """Further tries after a temporary failure, in the same run."""
    backoff_seconds: NonNegativeFloat = 2.0
    """Before the first further try; doubles with each, and is spread by a random half, drawn from `seed` and the
    address."""
    max_backoff_seconds: NonNegativeFloat = 60.0
    """No wait before a further try is longer; a Retry-After that asks for more ends the tries of this run."""
    retry_temporary_after_seconds: NonNegativeFloat = 86_400.0
    """How old the record of a temporary failure must be before the address is asked again, in a later run."""
    seed: Seed = 0

    connect_timeout_seconds: PositiveFloat = 10.0
    """For the name look-up, the connection and TLS."""
    read_timeout_seconds: PositiveFloat = 15.0
    """Longest silence of a server."""
    total_timeout_seconds: PositiveFloat = 60.0
    """For one request, its body included."""
    min_bytes_per_second: NonNegativeInt = 1024
    """A body that comes slower, counted after `read_timeout_seconds`, is given up (too_slow)."""

    max_bytes: PositiveInt = 20_000_000
    """Of a body, both as it is sent and with its Content-Encoding undone."""
    max_pixels: PositiveInt = MAX_PIXELS
    """Of an image, as its header says."""

    max_redirects: NonNegativeInt = 5
    """Each is checked like a new address, and waits for its host's turn."""
    https_to_http: bool = False
    """Whether a redirect may leave https for http."""
    ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = ()
    """Allowed besides 80 and 443."""
    allow_networks: tuple[str, ...] = ()
    """Networks that are asked though they are not public: ("127.0.0.1/32",) for a test's own server, or a mirror inside
    an institute. Leave it empty for addresses that strangers wrote."""

    @field_validator("allow_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks

    @field_validator("user_agent")
    @classmethod
    def _header(cls, user_agent: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(/[!-~]+)?( [ -~]+)?", user_agent):
            raise ValueError(
                "must be printable ASCII that begins with a name, as in acme-research/1.0 (how to reach us)"
            )
        return user_agent

    @property
    def deciding(self) -> dict[str, Any]:
        """The fields that decide what becomes of an address, as plain JSON: whoever keeps outcomes depends on them.

        Manners, which decide only when it is asked, are left out, as is `accept`, which each step sets.
        """
        return {name: value for name, value in to_json(self).items() if name not in (*_MANNERS, "accept")}

    @property
    def refusing(self) -> dict[str, Any]:
        """What decides which headers and tags refuse a page or an image (opt_out.py), as plain JSON."""
        return {
            "names": list(self.robots_names),
            "opt_out": list(self.opt_out),
            "tdm_reservation": self.tdm_reservation,
        }

    @property
    def all_ports(self) -> tuple[int, ...]:
        """The ports that may be asked."""
        return (80, 443, *self.ports)

    @property
    def robots_names(self) -> tuple[str, ...]:
        """The names for which robots.txt and X-Robots-Tag are searched, our own first."""
        own = re.match(r"[A-Za-z0-9_-]+", self.user_agent)
        assert own is not None
        return (own[0], *self.also_obey)
