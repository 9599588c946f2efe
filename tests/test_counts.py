"""What a request and a chunk cost, counted: so a slow-down fails a test without a stopwatch.

The gateway runs on the test's event loop. Client and upstream are blocking sockets in another
thread, in lockstep with it: what is counted on the loop's thread is the gateway's alone, and the
same on any machine. `pytest -s tests/test_counts.py` prints the counts, and which functions are
called. Limits stand a little above what was counted on Python 3.11 (newer ones call less): who
makes the path shorter lowers them.
"""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from types import CodeType, FrameType
from typing import Any

import orjson
import pytest

from ezkielyna.testing.dialect import DONE, chat_answer, chunk, usage_chunk
from ezkielyna.testing.gateway import Gateways, RunningGateway

LIMITS = {  # Python calls and calls into C
    ("plain", "llhttp"): (162, 186),
    ("plain", "tornado"): (520, 462),
    ("chunk", "llhttp"): (18, 34),
    ("chunk", "tornado"): (32, 52),
}
PEAK_KIB = 28
STREAM_KIB = 24
STREAMS = 100
LEFT_BYTES = 256  # what is kept of a request is more; buffers and timers are some 50 KiB in all
QUESTION = 200 * 1024
SIZES = 3.1  # the body as it came, what was understood of it, what is sent on

PLAN = {"rpm": 1_000_000, "tpm": 1_000_000_000, "concurrency": 1_000}
PATIENCE_S = 60.0
SAMPLES = 60
WARM = 10
OFTEN = 0.9


Loop = asyncio.AbstractEventLoop


class Counting:
    """Counts the calls of the thread that it is started in; read from any other."""

    def __init__(self) -> None:
        self.python = self.c = 0
        self.functions: Counter[CodeType] = Counter()

    def __enter__(self) -> Counting:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.python += 1
            self.functions[frame.f_code] += 1
        elif event == "c_call":
            self.c += 1


class Ends:
    """Both ends of a gateway: a client's connection to it, and the upstream it goes to."""

    def __init__(self, listener: socket.socket, loop: Loop | None = None) -> None:
        self._listener = listener
        self._upstream: socket.socket | None = None
        self._loop = loop or asyncio.get_running_loop()

    def connect(self, gateway: RunningGateway) -> None:
        """Open the client's connection."""
        host, port = gateway.url.removeprefix("http://").split(":")
        self.client = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._key = gateway.key

    def close(self) -> None:
        """Close whatever is open."""
        for one in (self.client, self._upstream):
            if one is not None:
                one.close()

    def ask(self, body: bytes) -> None:
        """Send a request; return when the upstream has all of what became of it."""
        self.client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: counted\r\n"
            b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (self._key.encode(), len(body), body)
        )
        head, rest = received_until(self._asked(), b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        received_exactly(self.upstream, length - len(rest))

    def _asked(self) -> socket.socket:
        """Return the connection on which the gateway asks: the one it has, or a new one."""
        known = [] if self._upstream is None else [self._upstream]
        ready, _, _ = select.select([self._listener, *known], [], [], PATIENCE_S)
        assert ready, "the gateway asked nothing"
        if self._listener in ready:
            self._upstream, _ = self._listener.accept()
            self._upstream.settimeout(PATIENCE_S)
        return self.upstream

    @property
    def upstream(self) -> socket.socket:
        """The upstream's end of the connection."""
        assert self._upstream is not None
        return self._upstream

    def at_rest(self) -> None:
        """Return when the loop has done all that was ready."""
        for _ in range(3):
            turned = threading.Lock()  # its methods are C: they are no Python calls of the loop
            turned.acquire()
            self._loop.call_soon_threadsafe(turned.release)
            assert turned.acquire(timeout=PATIENCE_S)


def received_until(sock: socket.socket, mark: bytes) -> tuple[bytes, bytes]:
    """Return what came up to and with the mark, and what came after it."""
    data = b""
    while mark not in data:
        more = sock.recv(4096)
        assert more, f"closed after {data!r}"
        data += more
    before, _, after = data.partition(mark)
    return before + mark, after


def received_exactly(sock: socket.socket, size: int) -> None:
    while size > 0:
        more = sock.recv(min(size, 4096))
        assert more, f"closed with {size} bytes to come"
        size -= len(more)
    assert size == 0


def plain(ends: Ends, body: bytes, answer: bytes) -> None:
    """One plain request, from end to end."""
    ends.ask(body)
    ends.upstream.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
    )
    head, rest = received_until(ends.client, b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head + rest
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    received_exactly(ends.client, length - len(rest))
    ends.at_rest()


def stream(ends: Ends, body: bytes, each: Callable[[], None], count: int) -> None:
    """One streamed request; a chunk goes out when the one before has arrived at the client."""
    ends.ask(body)
    upstream = ends.upstream
    upstream.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for number in range(count):
        text = f"~{number}~"
        upstream.sendall(framed(chunk({"content": text})))
        received_until(ends.client, text.encode())
        ends.at_rest()
        each()
    upstream.sendall(framed(usage_chunk(8, count)) + framed(DONE) + b"0\r\n\r\n")
    received_until(ends.client, b"\r\n0\r\n\r\n")
    ends.at_rest()


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def asking(*, streamed: bool, text: str = "Which roads lead to Rome?") -> bytes:
    message = {"role": "user", "content": text}
    return orjson.dumps({"model": "gpt-lab", "messages": [message], "stream": streamed})


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def typical(counts: list[tuple[int, int]], idle: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the medians of the steps in running counts, less those of steps without work.

    Batches that are written meanwhile fall into few steps, which the median leaves out.
    """

    def step(column: int) -> int:
        def middle(running: list[tuple[int, int]]) -> float:
            return median(after[column] - before[column] for before, after in pairwise(running))

        return round(middle(counts) - middle(idle))

    return step(0), step(1)


def report(title: str, found: tuple[int, int], counting: Counting, of: int) -> None:
    """Print the counts, and the functions that were called for every one of the things counted."""
    print(f"\n{title}: {found[0]} Python calls, {found[1]} calls into C")
    often = ((code, n) for code, n in counting.functions.most_common() if n >= OFTEN * of)
    for code, calls in often:
        path = code.co_filename.rpartition("site-packages/")[2].rpartition("/ezkielyna/")[2]
        print(f"  {calls / of:6.1f}  {path}:{code.co_firstlineno} {code.co_qualname}")


Gauge = Callable[[Ends, Callable[[], None]], None]


async def counted(gateways: Gateways, wire: str, work: Gauge, title: str) -> tuple[int, int]:
    """Return how many calls a step of the work makes; it calls its second argument at each."""
    tables: dict[str, Any] = {"server": {"wire": wire}, "plans": {"default": PLAN}}
    with listening() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with gateways(url, tables=tables, credit="1000") as gateway:
            ends = Ends(listener)
            counting = Counting()
            counts: list[tuple[int, int]] = []
            idle: list[tuple[int, int]] = []

            def run() -> None:
                ends.connect(gateway)
                for _ in range(WARM):
                    plain(ends, asking(streamed=False), chat_answer())
                for _ in range(SAMPLES):
                    ends.at_rest()
                    idle.append((counting.python, counting.c))
                counting.functions.clear()
                work(ends, lambda: counts.append((counting.python, counting.c)))

            with counting:
                await asyncio.to_thread(run)
            ends.close()
    found = typical(counts, idle)
    report(f"{title}, {wire}", found, counting, len(counts))
    return found


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_calls_of_a_plain_request(gateways: Gateways, wire: str) -> None:
    def work(ends: Ends, each: Callable[[], None]) -> None:
        for _ in range(SAMPLES):
            plain(ends, asking(streamed=False), chat_answer())
            each()

    python, c = await counted(gateways, wire, work, "a plain request")
    assert python <= LIMITS["plain", wire][0]
    assert c <= LIMITS["plain", wire][1]


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_calls_of_a_chunk(gateways: Gateways, wire: str) -> None:
    def work(ends: Ends, each: Callable[[], None]) -> None:
        stream(ends, asking(streamed=True), each, SAMPLES)

    python, c = await counted(gateways, wire, work, "a chunk")
    assert python <= LIMITS["chunk", wire][0]
    assert c <= LIMITS["chunk", wire][1]


async def peak_kib(gateways: Gateways, body: bytes, samples: int) -> float:
    """Return the memory that a plain request needs at most while it runs, in KiB; a median."""
    peaks: list[float] = []
    with listening() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with gateways(url, tables={"plans": {"default": PLAN}}, credit="1000") as gateway:
            ends = Ends(listener)

            def run() -> None:
                ends.connect(gateway)
                for number in range(WARM + samples):
                    if number == WARM:
                        tracemalloc.start()
                    before = tracemalloc.get_traced_memory()[0]
                    tracemalloc.reset_peak()
                    plain(ends, body if number >= WARM else asking(streamed=False), chat_answer())
                    peaks.append((tracemalloc.get_traced_memory()[1] - before) / 1024)

            try:
                await asyncio.to_thread(run)
            finally:
                tracemalloc.stop()
            ends.close()
    return median(peaks[WARM:])


async def test_memory_of_a_plain_request(gateways: Gateways) -> None:
    found = await peak_kib(gateways, asking(streamed=False), SAMPLES)
    print(f"\na plain request: {found:.1f} KiB, at most at a time")
    assert found <= PEAK_KIB


async def test_copies_of_a_large_body(gateways: Gateways) -> None:
    """An image of 10 MB is not copied more than twice, though its upstream names the model."""
    body = asking(streamed=False, text="A" * (10 << 20)).replace(b"gpt-lab", b"free-lab")
    found = await peak_kib(gateways, body, 5) * 1024 / len(body)
    print(f"\na body of 10 MiB: {found:.2f} times its size, at most at a time")
    assert found <= SIZES


def opened(gateway: RunningGateway, listener: socket.socket, body: bytes, loop: Loop) -> Ends:
    """Return the ends of a new stream, through which a few chunks have come."""
    ends = Ends(listener, loop)
    ends.connect(gateway)
    ends.ask(body)
    ends.upstream.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for number in range(3):
        ends.upstream.sendall(framed(chunk({"content": f"~{number}~"})))
        received_until(ends.client, b"~%d~" % number)
    ends.at_rest()
    return ends


async def kib_a_stream(gateways: Gateways, body: bytes, streams: int) -> float:
    """Return the memory of an open stream in KiB, both of its connections included."""
    with listening() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with gateways(url, tables={"plans": {"default": PLAN}}, credit="1000") as gateway:
            loop, flowing = asyncio.get_running_loop(), []

            def run(count: int) -> None:
                flowing.extend(opened(gateway, listener, body, loop) for _ in range(count))

            await asyncio.to_thread(run, WARM)
            tracemalloc.start()
            try:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                await asyncio.to_thread(run, streams)
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
            for ends in flowing:
                ends.close()
    return grown / 1024 / streams


async def test_memory_of_an_open_stream(gateways: Gateways) -> None:
    found = await kib_a_stream(gateways, asking(streamed=True), STREAMS)
    print(f"\nan open stream: {found:.1f} KiB")
    assert found <= STREAM_KIB


async def test_an_open_stream_keeps_its_question_as_it_came_and_as_understood(
    gateways: Gateways,
) -> None:
    """What was sent on, and the pieces that the body came in, are let go."""
    body = asking(streamed=True, text="A" * QUESTION)
    found = await kib_a_stream(gateways, body, STREAMS // 10)
    print(f"\nan open stream with a question of {QUESTION >> 10} KiB: {found:.1f} KiB")
    assert found <= 2 * QUESTION / 1024 + STREAM_KIB


async def test_nothing_is_left_of_a_request(gateways: Gateways) -> None:
    requests = 5 * SAMPLES  # settled and written down
    with listening() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with gateways(url, tables={"plans": {"default": PLAN}}, credit="1000") as gateway:
            ends = Ends(listener)
            ends.connect(gateway)

            def run() -> None:
                for _ in range(requests):
                    plain(ends, asking(streamed=False), chat_answer())

            await asyncio.to_thread(run)
            tracemalloc.start()
            try:
                await asyncio.to_thread(run)
                for _ in range(60):  # batches are written meanwhile
                    gc.collect()
                    left = tracemalloc.get_traced_memory()[0] / requests
                    if left <= LEFT_BYTES:
                        break
                    await asyncio.sleep(0.5)
            finally:
                tracemalloc.stop()
            ends.close()
    print(f"\nleft of a request: {left:.0f} bytes")
    assert left <= LEFT_BYTES
