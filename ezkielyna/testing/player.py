"""An upstream that plays one recording at a time, for a gateway under test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from ezkielyna.testing.dialect import JSON
from ezkielyna.testing.recordings import Recording
from ezkielyna.testing.scripted import Turn


class Player:
    """Answers every request with what it was told to play last.

    `script` is for `ScriptedUpstream`; `asked` is the body of the last request, empty before one.
    """

    def __init__(self) -> None:
        self.play: Callable[[Turn], Awaitable[None]] = self._silent
        self.asked: dict[str, Any] = {}

    async def script(self, turn: Turn) -> None:
        """Note what was asked, and play."""
        self.asked = orjson.loads(turn.request.body)
        await self.play(turn)

    async def _silent(self, turn: Turn) -> None:
        raise AssertionError("nothing is to be played")

    def plain(self, recording: Recording) -> None:
        """Play a whole answer."""

        async def play(turn: Turn) -> None:
            await turn.answer(recording.status, _kept(recording), recording.response.body)

        self.play = play

    def pieces(self, pieces: list[bytes], status: int = 200) -> None:
        """Play a stream, one chunk of HTTP a piece."""

        async def play(turn: Turn) -> None:
            await turn.stream(pieces, status=status)

        self.play = play

    def cut_at(self, raw: bytes, position: int) -> None:
        """Play the bytes of a whole answer in two writes with a pause between."""

        async def play(turn: Turn) -> None:
            await turn.send(raw[:position])
            await asyncio.sleep(0.001)
            await turn.send(raw[position:])

        self.play = play


def _kept(recording: Recording) -> dict[str, str]:
    matter = ("content-type", "retry-after", "retry-after-ms")
    found = {name: recording.response.headers.get(name, "") for name in matter}
    return JSON | {name: value for name, value in found.items() if value}
