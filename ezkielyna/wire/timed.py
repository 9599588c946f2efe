"""A connection's timer."""

from __future__ import annotations

import asyncio
import math


class Timed(asyncio.Protocol):
    """A connection with one timer, and it is lazy: when it fires, `_ring` computes the deadline.

    Progress is noted as a time; so a request on a warm connection, or a chunk of a stream, touches
    no timer at all.
    """

    __slots__ = ("_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def _ring_by(self, at: float) -> None:
        """Make sure that the timer fires no later than this, in the loop's time."""
        if at < self._timer_at:
            self._stop_timer()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._ring)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf

    def _ring(self) -> None:
        """Forget the timer, which fired; a connection sets it anew, or ends."""
        self._timer, self._timer_at = None, math.inf
