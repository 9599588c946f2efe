"""A large body on its way out: a slice at a time, and others get their turns between them."""

from __future__ import annotations

import asyncio

from ezkielyna.wire.outbox import Sender

SLICE_BYTES = 256 * 1024
"""Encrypting 10 MiB at once would take 40 ms, and twice as much memory again."""


class Outgoing:
    """Writes one body to a transport, no faster than the transport takes it.

    It begins with `resume`; the connection passes `pause_writing` and `resume_writing` on.
    """

    __slots__ = ("_handle", "_left", "_loop", "_paused", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Sender, body: bytes) -> None:
        self._loop = loop
        self._transport = transport
        self._left: memoryview | None = memoryview(body)
        self._paused = True
        self._handle: asyncio.Handle | None = None

    @property
    def done(self) -> bool:
        """True when the transport has all of it."""
        return self._left is None

    def pause(self) -> None:
        """Wait until the transport has less to send."""
        self._paused = True

    def resume(self) -> None:
        """Begin, or go on."""
        self._paused = False
        if self._handle is None:
            self._write()

    def stop(self) -> None:
        """Let go of what was not written."""
        self._left = None
        if self._handle is not None:
            self._handle.cancel()

    def _write(self) -> None:
        self._handle = None
        left = self._left
        if self._paused or left is None or self._transport.is_closing():
            return
        self._left = left[SLICE_BYTES:] if len(left) > SLICE_BYTES else None
        self._transport.write(left[:SLICE_BYTES])
        if self._left is not None and not self._paused:
            self._handle = self._loop.call_soon(self._write)
