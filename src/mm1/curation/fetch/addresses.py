"""Which IP addresses are strangers' servers, and which lead inside: to this machine, its network, its cloud.

    is_public("93.184.215.14")     # True
    is_public("169.254.169.254")   # False: the metadata of a cloud
    is_public("64:ff9b::a00:1")    # False: 10.0.0.1 behind a NAT64 gateway

The lists follow IANA's special-purpose registries for IPv4 and IPv6; Python's `is_global` is not asked, for its answers
differ between versions. Knows nothing of names or connections.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host, this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's inner server, on an address that is public by its range
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)

PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out; loopback, mapped and translated IPv4, unique local, link-local and multicast lie outside."""

NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocols: Teredo (an IPv4 address in disguise), ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """Whether an IP address, written as the system writes it, belongs to the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in NOT_PUBLIC_4)
    return ip.scope_id is None and ip in PUBLIC_6 and not any(ip in network for network in NOT_PUBLIC_6)


def is_allowed(address: str, networks: Sequence[Network] = ()) -> bool:
    """Whether an IP address is public or lies in one of `networks`."""
    if is_public(address):
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks if network.version == ip.version)
