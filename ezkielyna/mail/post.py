"""Sends letters in the background, tries again, and can say when mail does not leave.

What waits to be sent is in memory: a letter is lost with its process. Every page that sends one
can send it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from ezkielyna.mail.carriers import Carrier, Undelivered
from ezkielyna.mail.letters import Letter, Unaddressable

log = structlog.stdlib.get_logger("ezkielyna.mail")

PAUSES_S = (1.0, 5.0, 20.0)
"""Between the tries of one letter."""

MOST_WAITING = 500
AT_ONCE = 4
GRACE_S = 5.0

Failed = Callable[[], Awaitable[None]]


class Post:
    """Takes letters; `trouble` says why mail does not leave at present, None when it does."""

    def __init__(
        self, carrier: Carrier, sender: str, *, pauses_s: Sequence[float] = PAUSES_S
    ) -> None:
        self._carrier = carrier
        self._sender = sender
        self._pauses_s = pauses_s
        self._sending: set[asyncio.Task[bool]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.trouble: str | None = None

    def send(self, letter: Letter, failed: Failed | None = None) -> asyncio.Task[bool]:
        """Send a letter in the background. The task's result is whether it left.

        `failed` is awaited when it did not, after every try.
        """
        task = asyncio.get_running_loop().create_task(self._send(letter, failed))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    async def close(self) -> None:
        """Wait a moment for what is being sent, then give it up."""
        waiting = tuple(self._sending)
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=GRACE_S)
        for task in late:
            task.cancel()
        if late:
            log.warning("letters were given up at the stop", count=len(late))
            await asyncio.wait(late)

    async def _send(self, letter: Letter, failed: Failed | None) -> bool:
        left = await self._leaves(letter)
        if not left and failed is not None:
            await failed()
        return left

    async def _leaves(self, letter: Letter) -> bool:
        if len(self._sending) > MOST_WAITING:
            self.trouble = "too many letters wait to be sent"
            log.error("a letter was refused", letter=letter.name, reason=self.trouble)
            return False
        try:
            message = letter.message(self._sender)
        except Unaddressable:
            return False
        for pause_s in (*self._pauses_s, None):
            try:
                async with self._slots:
                    await self._carrier.deliver(message)
            except Undelivered as error:
                if error.final:
                    log.warning("a letter was refused", letter=letter.name, reason=str(error))
                    return False
                self.trouble = str(error)
                if pause_s is None:
                    log.error("a letter did not leave", letter=letter.name, reason=str(error))
                    return False
                await asyncio.sleep(pause_s)
            else:
                self.trouble = None
                return True
        raise AssertionError("the last try returns")
