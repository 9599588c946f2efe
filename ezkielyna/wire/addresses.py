"""Which addresses are public: what customers may have us connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

PORTS = (80, 443)

_NEVER = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            # Of IPv6 only 2000::/3 is in use for hosts; from it what leads to IPv4 or nowhere.
            *("::/3", "4000::/2", "8000::/1"),
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)
"""IANA's special-purpose registries, RFC 6890; and tunnels, which hide an IPv4 address."""


def is_public(address: str, port: int, allowed: tuple[Network, ...] = ()) -> bool:
    """True for a host of the public Internet at a port of the web, and for what is `allowed`.

    What cannot be read is not public.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if _within(ip, allowed):
        return True
    return port in PORTS and ip.is_global and not _within(ip, _NEVER)


def _within(ip: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)
