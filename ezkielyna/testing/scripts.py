"""Upstreams that misbehave: scripts for `ScriptedUpstream`.

Usage is omitted by streaming a recording without its usage, as `streaming` does with any bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ezkielyna.testing.scripted import Script, Turn

EVENT_STREAM = {"content-type": "text/event-stream"}


class Gate:
    """A script that waits for the test's word, and then does what another one says.

    ```python
    slow = Gate(answering(200, JSON, chat_answer()))
    async with ScriptedUpstream(slow) as upstream:
        ...  # ask
        await slow.asked.wait()
        slow.open()
    ```
    """

    def __init__(self, script: Script) -> None:
        self.asked = asyncio.Event()
        self._script = script
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let every request pass, those that wait and those that come."""
        self._opened.set()

    async def __call__(self, turn: Turn) -> None:
        """Answer, once the gate is open."""
        self.asked.set()
        await self._opened.wait()
        await self._script(turn)


def stalling(pieces: Iterable[bytes] = ()) -> Script:
    """Return the script that streams these pieces and then says nothing until the client goes."""
    kept = list(pieces)

    async def script(turn: Turn) -> None:
        if kept:
            await turn.begin(200, EVENT_STREAM)
        for piece in kept:
            await turn.chunk(piece)
        await turn.stall()

    return script


def trickling(pieces: Iterable[bytes], *, delay_s: float = 0.001) -> Script:
    """Return the script that streams every byte in a chunk of its own."""
    kept = b"".join(pieces)

    async def script(turn: Turn) -> None:
        await turn.stream((bytes([byte]) for byte in kept), delay_s=delay_s)

    return script


def cutting(pieces: Iterable[bytes], after: int) -> Script:
    """Return the script that closes the connection after so many pieces, in mid-answer."""
    kept = list(pieces)[:after]

    async def script(turn: Turn) -> None:
        await turn.begin(200, EVENT_STREAM)
        for piece in kept:
            await turn.chunk(piece)
        await turn.cut()

    return script


def garbling(data: bytes = b"\x00\xff<html>{]data: {\n\n") -> Script:
    """Return the script that answers with status 200 and bytes that mean nothing."""

    async def script(turn: Turn) -> None:
        await turn.stream([data])

    return script
