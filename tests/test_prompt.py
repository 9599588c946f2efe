"""What keeps answers prompt: no request holds the loop for long, and no socket waits for more."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from ezkielyna.testing.dialect import DONE, JSON, chat_answer, chunk, usage_chunk
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Line
from ezkielyna.testing.large import LONGEST_S, longest_turn_s
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.wire.server_connection import ServerConnection
from ezkielyna.wire.upstream_connection import UpstreamConnection

STREAM = chunk({"content": "A cat."}) + usage_chunk(8, 3) + DONE


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
@pytest.mark.parametrize(("fields", "answer"), [({}, chat_answer()), ({"stream": True}, STREAM)])
async def test_a_large_image_holds_nobody_up(
    gateways: Gateways, wire: str, fields: dict[str, Any], answer: bytes
) -> None:
    tables = {"server": {"wire": wire}}
    found = await longest_turn_s(gateways, answer, tables, **fields)
    print(f"\nthe longest turn of the loop took {found * 1000:.1f} ms of CPU, {wire}, {fields}")
    assert found <= LONGEST_S


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_small_writes_leave_at_once(
    gateways: Gateways, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP_NODELAY is on towards clients and upstreams."""
    seen: list[tuple[type, int]] = []

    def noting(kind: Any) -> None:
        made = kind.connection_made

        def connection_made(self: Any, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            made(self, transport)
            seen.append((kind, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))

        monkeypatch.setattr(kind, "connection_made", connection_made)

    noting(ServerConnection)
    noting(UpstreamConnection)
    script = answering(200, JSON, chat_answer())
    tables = {"server": {"wire": wire}}
    asking = {"model": "free-lab", "messages": [{"role": "user", "content": "hi"}]}
    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
        await Line.open(gateway.url) as line,
    ):
        assert (await line.post(gateway.key, asking)).status == 200
    kinds = [UpstreamConnection] if wire == "tornado" else [ServerConnection, UpstreamConnection]
    assert sorted(seen, key=str) == sorted([(kind, 1) for kind in kinds], key=str)
