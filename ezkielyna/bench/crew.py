"""The processes that send: started together, ordered step by step, asked for what they saw."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import orjson

from ezkielyna.bench.plan import Load, Target

_START_S = 0.05
_LONGEST_LINE = 1 << 31
_PATIENCE_S = 60.0

Told = Callable[[int, int, int], None]
"""Hears how many requests have ended, how many of them failed, how many are open."""


class CrewFailed(OSError):
    """A process of the load generator ended by itself; its own words are on standard error."""


class Crew:
    """Several sending processes; use it with `async with`. Raises CrewFailed where one dies."""

    def __init__(
        self, target: Target, headers: Mapping[str, str], seed: str, processes: int
    ) -> None:
        self._first = [
            {"target": asdict(target), "headers": headers, "seed": seed, "index": index}
            for index in range(processes)
        ]
        self._workers: list[Process] = []

    async def __aenter__(self) -> Self:
        command = (sys.executable, "-m", "ezkielyna.bench.worker")
        # What configures a gateway must not end up in a process that loads one.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EZKIELYNA_")}
        try:
            for _ in self._first:
                worker = await asyncio.create_subprocess_exec(
                    *command, stdin=PIPE, stdout=PIPE, env=clean, limit=_LONGEST_LINE
                )
                self._workers.append(worker)
            for worker, first in zip(self._workers, self._first, strict=True):
                _order(worker, first)
            await self._all_ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def run(self, load: Load, told: Told) -> list[dict[str, Any]]:
        """Do one step, shared by all processes; return what each of them saw."""
        for index, worker in enumerate(self._workers):
            _order(worker, {"load": asdict(load.share(index, len(self._workers)))})
        await self._all_ready()
        begins = time.monotonic() + _START_S
        for worker in self._workers:
            _order(worker, {"begins": begins})
        seen: list[tuple[int, int, int]] = [(0, 0, 0)] * len(self._workers)

        async def result(index: int, worker: Process) -> dict[str, Any]:
            while "result" not in (message := await _heard(worker)):
                state = message["progress"]
                seen[index] = state["ended"], state["errors"], state["open"]
                told(*map(sum, zip(*seen, strict=True)))
            found: dict[str, Any] = message["result"]
            return found

        return await _together([result(index, one) for index, one in enumerate(self._workers)])

    async def _all_ready(self) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await _together([_heard(worker) for worker in self._workers])

    async def _end(self) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.close()
            if worker.returncode is None:
                worker.terminate()
        for worker in self._workers:
            await worker.wait()


async def _together(work: Sequence[Any]) -> list[dict[str, Any]]:
    """Await all of it; the first failure cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _order(worker: Process, message: dict[str, Any]) -> None:
    assert worker.stdin is not None
    worker.stdin.write(orjson.dumps(message) + b"\n")


async def _heard(worker: Process) -> dict[str, Any]:
    assert worker.stdout is not None
    line = await worker.stdout.readline()
    if not line:
        raise CrewFailed("a process of the load generator ended by itself")
    message: dict[str, Any] = orjson.loads(line)
    return message
