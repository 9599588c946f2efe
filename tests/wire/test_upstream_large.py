"""Large bodies on their way to an upstream: nobody waits for them, and little of them is copied."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from typing import Any

import pytest
import trustme

from ezkielyna.testing.large import LONGEST_S, PATIENCE_S, ROUNDS, Turns
from ezkielyna.wire.upstream import Upstream

Collected = Any

BODY = random.Random(1).randbytes(10 * 2**20)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AUTHORITY = trustme.CA()


def taking(listener: socket.socket, context: ssl.SSLContext | None) -> bytes:
    """Be an upstream in a thread of its own for one request; return its body."""
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE_S)
    if context is not None:
        connection = context.wrap_socket(connection, server_side=True)
    with connection:
        got = b""
        while b"\r\n\r\n" not in got:
            got += connection.recv(65536)
        pieces = [got.partition(b"\r\n\r\n")[2]]
        while sum(map(len, pieces)) < len(BODY):
            pieces.append(connection.recv(1 << 20))
        connection.sendall(ANSWER)
        return b"".join(pieces)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nobody_waits_while_10_mib_are_sent(scheme: str, collected: type[Collected]) -> None:
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    AUTHORITY.issue_cert("localhost").configure_cert(served)
    AUTHORITY.configure_trust(trusting)
    found = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"{scheme}://localhost:{listener.getsockname()[1]}"
        upstream = Upstream(proxy_from_environment=False, ssl_context=trusting)
        for _ in range(ROUNDS):
            context = served if scheme == "https" else None
            taken = asyncio.create_task(asyncio.to_thread(taking, listener, context))
            turns = Turns()
            with turns.timed():
                got = collected().start(upstream, url, body=BODY)
                await asyncio.wait_for(got.ended.wait(), PATIENCE_S)
            assert (got.error, got.body) == (None, b"ok")
            assert await taken == BODY
            found.append(turns.longest_s)
            if turns.longest_s <= LONGEST_S:
                break
        await upstream.close()
    print(f"\n{scheme}: the longest turn of the loop took {min(found) * 1000:.1f} ms of CPU")
    assert min(found) <= LONGEST_S


@pytest.mark.parametrize("ending", ["read", "answered", "aborted"])
async def test_a_body_waits_for_an_upstream_that_does_not_read(
    ending: str, collected: type[Collected], until: Any
) -> None:
    """What waits is not copied; a connection with a rest of it is not used again."""
    go, bodies = asyncio.Event(), []

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        if ending == "read":
            bodies.append(await reader.readexactly(len(BODY)))
        writer.write(ANSWER)
        await reader.read(1 << 16)
        writer.close()

    server = await asyncio.start_server(slowly, "127.0.0.1", 0, limit=1 << 16)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        upstream = Upstream(proxy_from_environment=False)
        got = collected().start(upstream, url, body=BODY)
        await until(lambda: got.call.connection and sizes(got.call) > 0)
        await asyncio.sleep(0.05)
        assert sizes(got.call) < len(BODY) / 4
        if ending == "aborted":
            got.call.abort()
        go.set()
        if ending != "aborted":
            await asyncio.wait_for(got.ended.wait(), PATIENCE_S)
            assert (got.error, got.body) == (None, b"ok")
        assert bodies == ([BODY] if ending == "read" else [])
        await until(lambda: upstream.connections == (1 if ending == "read" else 0))
        await upstream.close()


def sizes(call: Any) -> int:
    """Return how many bytes wait in the transport of a call."""
    return int(call.connection.transport.get_write_buffer_size())
