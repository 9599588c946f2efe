"""One timer for all streams: says when an upstream has been silent for too long."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ezkielyna.contract.errors import GatewayError

TICK_S = 1.0


class Silent(Protocol):
    """A stream that counts its quiet ticks and can send a heartbeat."""

    quiet_ticks: int

    def tick(self) -> None:
        """Do what is done about once a second."""

    def heartbeat(self) -> None:
        """Send a comment line and start counting anew."""

    def stop(self, error: GatewayError) -> None:
        """End the stream with an error of ours."""


class Heartbeat:
    """Sends a heartbeat to every stream that was quiet for `after_s` seconds.

    One coarse timer costs nothing a chunk: a stream only sets its count of ticks to zero.
    """

    def __init__(self, after_s: float) -> None:
        self._ticks = max(1, round(after_s / TICK_S))
        self._streams: set[Silent] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream: Silent) -> None:
        """Watch a stream."""
        self._streams.add(stream)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, stream: Silent) -> None:
        """Forget a stream."""
        self._streams.discard(stream)

    def stop_all(self, error: GatewayError) -> int:
        """End every stream, telling its client why; return how many there were."""
        streams = tuple(self._streams)
        for stream in streams:
            stream.stop(error)
        return len(streams)

    def _tick(self) -> None:
        self._timer = None
        for stream in tuple(self._streams):
            stream.tick()
            stream.quiet_ticks += 1
            if stream.quiet_ticks >= self._ticks:
                stream.heartbeat()
        if self._streams:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
