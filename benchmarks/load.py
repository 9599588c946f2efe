"""The load generator: one process, raw sockets, answers counted and not parsed.

`python -m benchmarks.load closed|paced|steady …` prints one JSON object. With `--watch PIDS` it
also reads CPU time and memory of those processes, at the edges of its own window.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop

from benchmarks.calls import Call, Request, Tally
from benchmarks.probe import Probe
from benchmarks.processes import cpu_s, memory_kib

_OPENING_AT_ONCE = 50
_OPENING_S = 0.01  # more patience for every stream
_SETTLE_S = 0.4
_PATIENCE_S = 45.0


class Run:
    """One run: its calls, its tally, and the window in which it counts."""

    def __init__(
        self,
        request: Request,
        watch: Sequence[int],
        *,
        read_gaps: bool = False,
        probe: Probe | None = None,
    ) -> None:
        self.request = request
        self._probe = probe
        self.tally = Tally(read_gaps=read_gaps)
        self.calls: list[Call] = []
        self._watch = watch
        self._figures: dict[str, Any] = {}

    async def dial(self, ended: Callable[[Call], None]) -> Call:
        """Open one connection; raises OSError."""
        loop = asyncio.get_running_loop()
        _, call = await loop.create_connection(
            lambda: Call(self.request, self.tally, ended), self.request.host, self.request.port
        )
        self.calls.append(call)
        return call

    async def dial_many(self, count: int, ended: Callable[[Call], None]) -> None:
        """Open connections, some at a time; raises OSError."""
        for first in range(0, count, _OPENING_AT_ONCE):
            batch = range(first, min(first + _OPENING_AT_ONCE, count))
            await asyncio.gather(*(self.dial(ended) for _ in batch))

    async def stream_many(self, count: int, ended: Callable[[Call], None]) -> None:
        """Open streams, the next ones when those before are answered; raises OSError.

        Streams that are open are measured, not the crowd that opens them.
        """
        for first in range(0, count, _OPENING_AT_ONCE):
            await self.dial_many(min(_OPENING_AT_ONCE, count - first), ended)
            opening = self.calls[first:]
            for call in opening:
                call.send()
            until = time.monotonic() + _PATIENCE_S
            while not all(call.answered or call.lost for call in opening):
                if time.monotonic() > until:
                    return
                await asyncio.sleep(0.005)

    async def window(self, seconds: float) -> None:
        """Count for so long, and note what the watched processes spent meanwhile."""
        gc.collect()
        before, own = [cpu_s([pid]) for pid in self._watch], time.process_time()
        self._count(True)
        begun = time.perf_counter()
        await asyncio.sleep(seconds)
        self._count(False)
        took = time.perf_counter() - begun
        spent = [cpu_s([pid]) - cpu for pid, cpu in zip(self._watch, before, strict=True)]
        self._figures = {
            "seconds": took,
            "cpu_s": sum(spent),
            "cpu_each_s": spent,
            "memory_kib": memory_kib(self._watch),
            "load_cpu_s": time.process_time() - own,
        }

    def _count(self, whether: bool) -> None:
        self.tally.open = whether
        if self._probe is not None:
            self._probe.open = whether

    async def quiet(self) -> None:
        """Wait until no answer is under way, then drop the connections."""
        until = time.monotonic() + _PATIENCE_S
        while any(call.busy for call in self.calls) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.close()

    async def flowing(self) -> None:
        """Wait until every stream brings content, then for things to settle."""
        until = time.monotonic() + _PATIENCE_S + len(self.calls) * _OPENING_S
        while time.monotonic() < until:
            if all(call.flowing or call.lost for call in self.calls):
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(_SETTLE_S)

    def close(self) -> None:
        """Drop all connections."""
        for call in self.calls:
            if not call.lost:
                call.close()

    def report(self) -> dict[str, Any]:
        """Return the figures of the window; times in milliseconds."""
        tally = self.tally
        return {
            "requests": tally.finished,
            "chunks": tally.events,
            "errors": tally.errors,
            "error": tally.error,
            **self._figures,
            "duration_ms": percentiles(tally.durations),
            "first_byte_ms": percentiles(tally.first_bytes),
            "gap_ms": percentiles(tally.gaps),
            "probe_ms": percentiles(self._probe.waits) if self._probe is not None else {},
        }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max in milliseconds; empty without samples."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    last = len(ordered) - 1
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[round(last * at)] * 1000, 4) for name, at in points.items()}


async def closed(run: Run, connections: int, seconds: float, warm_s: float) -> dict[str, Any]:
    """Keep every connection busy: the next request goes out when the last answer has ended."""
    going = True
    again: set[asyncio.Task[None]] = set()

    async def replace() -> None:
        try:
            (await run.dial(ended)).send()
        except OSError as error:
            run.tally.fail(f"cannot connect: {error}")

    def ended(call: Call) -> None:
        if not going:
            return
        if not call.lost:
            call.send()
            return
        run.calls.remove(call)
        task = asyncio.ensure_future(replace())
        again.add(task)
        task.add_done_callback(again.discard)

    await run.dial_many(connections, ended)
    for call in run.calls:
        call.send()
    await asyncio.sleep(warm_s)
    await run.window(seconds)
    going = False
    await run.quiet()
    return run.report()


async def paced(run: Run, streams: int, seconds: float) -> dict[str, Any]:
    """Hold streams open that bring chunks at their own pace; count when all of them flow."""

    def ended(call: Call) -> None:
        if run.tally.open and not call.lost:
            run.tally.fail("a stream ended before the measurement did")

    await run.stream_many(streams, ended)
    await run.flowing()
    await run.window(seconds)
    flowing = sum(call.flowing for call in run.calls)
    if flowing < streams:
        run.tally.fail(f"{flowing} of {streams} streams flowed")
    run.close()
    await asyncio.sleep(0.2)
    return {**run.report(), "streams": flowing}


async def fair(
    run: Run, fire: Run, streams: int, connections: int, seconds: float
) -> dict[str, Any]:
    """Time the gaps of slow streams, first alone, then beside streams that come at full speed."""
    await run.stream_many(streams, lambda call: None)
    await run.flowing()
    await run.window(seconds)
    quiet = percentiles(run.tally.gaps)
    del run.tally.gaps[:]
    hose = asyncio.create_task(closed(fire, connections, seconds, _SETTLE_S))
    await asyncio.sleep(_SETTLE_S)
    await run.window(seconds)
    flowing = sum(call.flowing for call in run.calls)
    if flowing < streams:
        run.tally.fail(f"{flowing} of {streams} streams flowed")
    run.close()
    beside = await hose
    found = run.report()
    return {
        **found,
        "errors": found["errors"] + beside["errors"],
        "error": found["error"] or beside["error"],
        "quiet_gap_ms": quiet,
        "fire_chunks": beside["chunks"],
    }


async def steady(run: Run, rate: float, seconds: float, warm_s: float) -> dict[str, Any]:
    """Send requests at a fixed rate, whatever the answers do; each on an idle connection."""
    idle: deque[Call] = deque()

    def ended(call: Call) -> None:
        if not call.lost:
            idle.append(call)

    late = 0
    await run.dial_many(max(8, min(256, round(rate / 20))), ended)
    idle.extend(run.calls)
    counted = asyncio.create_task(_after(warm_s, run.window(seconds)))
    due = time.perf_counter()
    while not counted.done():
        due += 1 / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        while idle and idle[0].lost:
            idle.popleft()
        if idle:
            idle.popleft().send()
        else:
            late += 1
            (await run.dial(ended)).send()
    await counted
    await run.quiet()
    return {**run.report(), "connections_added": late}


async def _after(seconds: float, work: Coroutine[None, None, None]) -> None:
    await asyncio.sleep(seconds)
    await work


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    for way in ("closed", "paced", "steady", "fair"):
        one = ways.add_parser(way)
        one.add_argument("--url", required=True, help="what precedes /chat/completions")
        one.add_argument("--model", required=True)
        one.add_argument("--key", default="")
        one.add_argument("--header", action="append", default=[], help="sent with every request")
        one.add_argument("--seconds", type=float, default=3.0)
        one.add_argument("--warm", type=float, default=0.4, help="seconds before counting")
        one.add_argument("--watch", default="", help="process ids, with commas")
        one.add_argument("--probe", default="", help="a small page to ask every 10 ms meanwhile")
        one.add_argument("--usage", action="store_true", help="ask for the usage chunk")
        one.add_argument("--image-kib", type=int, default=0, help="an image in every request")
        if way in ("closed", "fair"):
            one.add_argument("--connections", type=int, default=32)
        if way in ("paced", "fair"):
            one.add_argument("--streams", type=int, default=500)
        if way == "fair":
            one.add_argument("--fire", required=True, help="the model of the fast streams")
        if way == "steady":
            one.add_argument("--rate", type=float, default=500.0, help="requests a second")
    return parser


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Do what the arguments say and return the figures; raises OSError when nobody listens."""
    if not options.probe:
        return await _measure(options, None)
    async with Probe(options.probe) as probe:
        return await _measure(options, probe)


async def _measure(options: argparse.Namespace, probe: Probe | None) -> dict[str, Any]:
    def request(model: str) -> Request:
        return Request(
            options.url,
            model,
            options.key,
            usage=options.usage,
            image_kib=options.image_kib,
            headers=options.header,
        )

    watch = [int(pid) for pid in options.watch.split(",") if pid]
    gaps = options.way in ("paced", "fair")
    run = Run(request(options.model), watch, read_gaps=gaps, probe=probe)
    if options.way == "closed":
        return await closed(run, options.connections, options.seconds, options.warm)
    if options.way == "paced":
        return await paced(run, options.streams, options.seconds)
    if options.way == "fair":
        fire = Run(request(options.fire), [])
        return await fair(run, fire, options.streams, options.connections, options.seconds)
    return await steady(run, options.rate, options.seconds, options.warm)


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Run the load generator as a process."""
    options = _arguments().parse_args()
    raise_file_limit()
    gc.disable()  # a collection would be counted as somebody's gap
    print(json.dumps(uvloop.run(measure(options))))


if __name__ == "__main__":
    main()
