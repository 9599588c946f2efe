"""The scripted upstream: what it counts."""

from __future__ import annotations

import asyncio

from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream


async def test_a_stranger_at_the_port_is_no_connection() -> None:
    """A driver of a database that died may knock at a port which the kernel gave to another."""
    async with ScriptedUpstream() as upstream:
        _, stranger = await asyncio.open_connection("127.0.0.1", upstream.port)
        stranger.write(b"\x3f\x01\x00\x00 no HTTP")
        await post(upstream.url, "key", {})
        await post(upstream.url, "key", {})
        stranger.close()
    assert upstream.connections == 2
    assert [request.connection for request in upstream.requests] == [0, 1]
