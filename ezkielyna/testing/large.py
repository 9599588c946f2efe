"""Requests with an image of 10 MiB: how long everybody else waits, and what is copied."""

from __future__ import annotations

import asyncio
import base64
import random
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from ezkielyna.contract.provider import Provider
from ezkielyna.contract.requests import ChatRequest
from ezkielyna.testing.gateway import Gateways, RunningGateway

PATIENCE_S = 120.0
ROUNDS = 10
MOST_SIZES = 3.1
"""The body as it came, what was understood of it, what is sent on; and little beside them."""

LONGEST_S = 0.02
"""Of CPU in one turn of the loop."""

IMAGE = base64.b64encode(random.Random(1).randbytes(10 * 2**20 * 3 // 4))  # noqa: S311


def large_chat(model: str, **fields: Any) -> bytes:
    """Return the body of a chat that shows an image of 10 MiB in base64."""
    url = {"url": "data:image/png;base64,~"}
    said = [{"type": "text", "text": 'See "this"\n'}, {"type": "image_url", "image_url": url}]
    chat = {"model": model, "messages": [{"role": "user", "content": said}], **fields}
    return orjson.dumps(chat).replace(b"~", IMAGE)


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


async def longest_turn_s(
    gateways: Gateways, answer: bytes, tables: dict[str, Any], **fields: Any
) -> float:
    """Return the CPU time of the longest turn of the loop in requests with a large image.

    It is the least of some requests, as a busy machine makes others cost more; the first that is
    within `LONGEST_S` is enough. The gateway has `tables`; its upstream, which gets the image
    whole, answers with a body of its dialect. Plain requests have an `Idempotency-Key`.
    """
    found = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with gateways(url, tables=tables) as gateway:
            body = large_chat("free-lab", **fields)
            for number in range(ROUNDS):
                asked = _head(gateway, number, len(body), kept="stream" not in fields) + body
                turns = Turns()
                with turns.timed():
                    await asyncio.to_thread(_asked, gateway.url, listener, asked, answer)
                found.append(turns.longest_s)
                if turns.longest_s <= LONGEST_S:
                    break
    return min(found)


def sizes_held(provider: Provider) -> float:
    """Return how many times its size a large body is in memory, at most, on the way upstream."""
    body = large_chat("public")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0] - len(body)
        exchange = provider.exchange(ChatRequest.parse(body), "of-upstream")
        held = (tracemalloc.get_traced_memory()[1] - before) / len(body)
    finally:
        tracemalloc.stop()
    assert exchange.request.body.count(IMAGE) == 1
    return held


def _head(gateway: RunningGateway, number: int, size: int, *, kept: bool) -> bytes:
    """Return the head of a request whose answer is to be kept, or not."""
    own = b"Idempotency-Key: %d\r\n" % number if kept else b""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
        % (gateway.key.encode(), own, size)
    )


def _asked(url: str, listener: socket.socket, request: bytes, answer: bytes) -> None:
    """Be the client and the upstream of one request, on blocking sockets."""
    host, port = url.removeprefix("http://").split(":")
    kind = b"application/json" if answer.startswith(b"{") else b"text/event-stream"
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        client.sendall(request)
        upstream, _ = listener.accept()
        with upstream:
            upstream.settimeout(PATIENCE_S)
            assert _received(upstream).count(IMAGE) == 1
            upstream.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (kind, len(answer), answer)
            )
            told = client.recv(65536)
    assert told.startswith(b"HTTP/1.1 200"), told


def _received(upstream: socket.socket) -> bytes:
    """Return the body of the request that comes here."""
    head, length, pieces, size = b"", 0, [], 0
    while not length or size < length:
        piece = upstream.recv(1 << 20)
        assert piece, "the gateway closed its connection"
        if not length:
            head += piece
            if b"\r\n\r\n" not in head:
                continue
            known, _, piece = head.partition(b"\r\n\r\n")
            length = int(known.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
