"""The address of a client: the peer's, or what a trusted proxy in front of us says."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddresses:
    """Reads `X-Forwarded-For` from the right, as long as a trusted proxy wrote it.

    What an untrusted peer says of itself is never believed. `trusted` are addresses and networks;
    raises ValueError for what is neither.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ipaddress.ip_network(one, strict=False) for one in trusted]

    def of(self, peer: str, forwarded: str | None) -> str:
        """Return the client's address. `forwarded` is the header's value, lines joined by commas.

        The client is the last address that no trusted proxy has; where all are trusted, or one is
        no address, the furthest that is known.
        """
        if forwarded is None or not self._trusted:
            return peer
        known = peer
        for text in reversed(forwarded.split(",")):
            if not self._trusts(known):
                break
            told = parsed(text)
            if told is None:
                break
            known = str(told)
        return known

    def _trusts(self, address: str) -> bool:
        found = parsed(address)
        return found is not None and any(found in network for network in self._trusted)


def parsed(text: str) -> Address | None:
    """Return an address as proxies write it, perhaps with a port; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
