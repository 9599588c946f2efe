"""Whose address it is: only a trusted proxy is believed."""

from __future__ import annotations

import pytest

from ezkielyna.wire.client_address import ClientAddresses

ADDRESSES = ClientAddresses(["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "1.1.1.1, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("10.9.9.9", "10.1.1.1,10.2.2.2", "10.1.1.1"),
        ("127.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("127.0.0.1", "[2001:dba::7]:4711", "2001:dba::7"),
        ("127.0.0.1", "2001:dba::7", "2001:dba::7"),
        ("::ffff:127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "fe80::1%eth0", "fe80::1"),
        ("127.0.0.1", "198.51.100.7, unknown", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, unknown, 10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", ", , ,", "127.0.0.1"),
        ("?", "198.51.100.7", "?"),
    ],
)
def test_the_last_address_that_nobody_trusts(peer: str, forwarded: str | None, client: str) -> None:
    assert ADDRESSES.of(peer, forwarded) == client


def test_without_proxies_nobody_is_believed() -> None:
    assert ClientAddresses(()).of("127.0.0.1", "198.51.100.7") == "127.0.0.1"


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="proxy"):
        ClientAddresses(["proxy.internal"])
