"""Counts tokens where an upstream sent no usage, in a process that is started when first needed."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import structlog

log = structlog.stdlib.get_logger("ezkielyna.counter")

PROGRAM = (sys.executable, "-P", str(Path(__file__).with_name("vocabularies.py")))

PATIENCE_S = 10.0
"""How long an answer without usage waits for its count; the first one starts the process."""

AVOID_S = 60.0
"""After a failure, sizes do for this long."""

IDLE_S = 300.0
"""A process that was not asked for this long ends: vocabularies take tens of megabytes."""

Groups = Sequence[Sequence[str]]


class TokenCounter:
    """One process, one question at a time. Never raises for a count that cannot be had."""

    def __init__(
        self,
        program: Sequence[str] = PROGRAM,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._program = program
        self._clock = clock
        self._patience_s = patience_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._ending: set[asyncio.Task[int]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._avoid_until = 0.0

    async def count(self, vocabulary: str, groups: Groups) -> list[int] | None:
        """Return the tokens of each group of texts, None where they cannot be counted now."""
        if self._clock() < self._avoid_until:
            return None
        try:
            async with asyncio.timeout(self._patience_s), self._turn:
                return await self._asked(orjson.dumps([vocabulary, groups]))
        except (TimeoutError, OSError, ValueError, TypeError) as error:
            # OSError: no such process, or it ended; ValueError: it ended within its answer;
            # TypeError: a text that is no Unicode.
            self._avoid_until = self._clock() + AVOID_S
            log.warning("tokens are not counted", reason=repr(error), seconds=AVOID_S)
            return None

    async def close(self) -> None:
        """End the process."""
        self._retire()
        await asyncio.gather(*self._ending)

    async def _asked(self, question: bytes) -> list[int]:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(question + b"\n")
            await process.stdin.drain()
            sums: list[int] = orjson.loads(await process.stdout.readline())
        except BaseException:
            # Whatever it still says would be taken for the next answer.
            self._retire()
            raise
        self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
        return sums

    async def _started(self) -> Process:
        if self._idle is not None:
            self._idle.cancel()
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._program, stdin=PIPE, stdout=PIPE
            )
        return self._process

    def _retire(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.kill()
        ending = asyncio.get_running_loop().create_task(process.wait())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
