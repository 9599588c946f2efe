"""What keeps answers prompt: no request holds the loop for long, and no socket waits for more."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Line
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.wire.server_connection import ServerConnection
from ezkielyna.wire.upstream_connection import UpstreamConnection

IMAGE = 10 << 20
LONGEST_S = 0.15
"""Of CPU in one turn of the loop: 59 ms were counted on a machine that eight others shared, most of
it for the parse and for writing the body anew with the upstream's name of the model. Whatever looks
at the bytes one by one takes seconds."""


class Turns:
    """The CPU time of the loop's thread in its longest turn, which nobody else's work adds to."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time every turn of the running loop."""
        loop, since, handle = asyncio.get_running_loop(), time.thread_time(), None

        def turn() -> None:
            nonlocal since, handle
            now = time.thread_time()
            self.longest_s = max(self.longest_s, now - since)
            since, handle = now, loop.call_soon(turn)

        turn()
        try:
            yield
        finally:
            assert handle is not None
            handle.cancel()


def asked(address: tuple[str, int], data: bytes) -> bytes:
    """Send a request with a blocking socket, from another thread; return what comes first."""
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(data)
        return client.recv(65536)


def swallowing(listener: socket.socket) -> None:
    """Be an upstream that takes a body of any size, and answers."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(60)
        left = IMAGE
        while left > 0:
            left -= len(connection.recv(1 << 20))
        time.sleep(0.1)
        answer = chat_answer()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
        )
        connection.recv(1 << 20)


async def test_a_large_image_holds_nobody_up(gateways: Gateways) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with gateways(url) as gateway:
            image = b"data:image/png;base64," + b"A" * IMAGE
            body = (
                b'{"model":"free-lab","max_tokens":9,"messages":[{"role":"user","content":'
                b'[{"type":"image_url","image_url":{"url":"%b"}}]}]}' % image
            )
            data = (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (gateway.key.encode(), len(body), body)
            )
            host, port = gateway.url.removeprefix("http://").split(":")
            turns = Turns()
            upstream = asyncio.create_task(asyncio.to_thread(swallowing, listener))
            with turns.timed():
                answer = await asyncio.to_thread(asked, (host, int(port)), data)
            await upstream
    print(f"\nthe longest turn of the loop took {turns.longest_s * 1000:.1f} ms of CPU")
    assert answer.startswith(b"HTTP/1.1 200")
    assert turns.longest_s <= LONGEST_S


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
