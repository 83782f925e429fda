"""Which addresses are strangers', and which lead inside."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.fetch.addresses import is_allowed, is_public

INSIDE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254 172.16.0.1
172.31.255.255 192.0.0.192 192.0.2.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.9 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 fc00::1
fd00:ec2::254 fe80::1 fe80::1%eth0 2600::1%1 fec0::1 ff02::1 2001::1 2001:db8::1 2002:7f00:1:: 3fff::1 5f00::1
"""


@pytest.mark.parametrize("address", [*INSIDE.split(), "", "localhost", "1", "127.1", "08.8.8.8"])
def test_what_leads_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
)
def test_strangers_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_that_python_calls_private_is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(str(ip)):
        assert not any([ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_reserved])


def test_networks_can_be_allowed_one_by_one() -> None:
    networks = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("fd00::/8"))
    assert is_allowed("127.0.0.1", networks)
    assert is_allowed("fd12::1", networks)
    assert not is_allowed("127.0.0.2", networks)
    assert not is_allowed("nonsense", networks)
    assert is_allowed("8.8.8.8", networks)
