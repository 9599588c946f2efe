"""One request to an upstream under way: who waits for it, and how it is steered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ezkielyna.contract.errors import UpstreamError
from ezkielyna.contract.provider import TimeLimits

if TYPE_CHECKING:
    from ezkielyna.wire.target import Origin
    from ezkielyna.wire.upstream_connection import UpstreamConnection


class Receiver(Protocol):
    """What an answer is pushed into, synchronously, from the socket.

    `headers_received` comes first and at most once, then `data_received` any number of times;
    exactly one of `finished` and `failed` comes last. Nothing comes from within `Upstream.start`,
    and nothing after `Call.abort`.
    """

    def headers_received(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the final status (never 1xx) and the headers.

        Names are lower case, the values of a repeated header are joined by ", ".
        """

    def data_received(self, data: bytes) -> None:
        """Take the next bytes of the body, never empty: all that one read of the socket held."""

    def finished(self) -> None:
        """Take notice that the answer is complete."""

    def failed(self, error: UpstreamError) -> None:
        """Take the error that ended the call; `__cause__` may hold a system error for the log.

        Its message names no address. It is an UpstreamTimeout where a time limit ended the call.
        """


class Call:
    """A request under way. Every method may be called at any time and any number of times."""

    __slots__ = (
        "connection",
        "dialing",
        "ended",
        "limits",
        "method",
        "origin",
        "paused",
        "receiver",
        "retried",
        "total_at",
        "wire",
    )

    def __init__(self, receiver: Receiver, limits: TimeLimits, total_at: float) -> None:
        self.receiver = receiver
        self.limits = limits
        self.total_at = total_at  # on the loop's clock, as every `_at` of this room
        self.method = ""
        self.origin: Origin | None = None
        self.wire: tuple[bytes, bytes] = (b"", b"")  # head and body
        self.connection: UpstreamConnection | None = None
        self.dialing: asyncio.Future[None] | None = None
        self.paused = False
        self.retried = False
        self.ended = False

    def pause(self) -> None:
        """Stop reading from the socket, so that the kernel holds the upstream back.

        The limit between two reads does not run meanwhile. What the current read still holds is
        delivered.
        """
        if not self.paused:
            self.paused = True
            if self.connection is not None:
                self.connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            if self.connection is not None:
                self.connection.resume()

    def abort(self) -> None:
        """Close the connection at once, so that the upstream stops; the receiver hears no more."""
        if self.ended:
            return
        self.ended = True
        if self.dialing is not None:
            self.dialing.cancel()
        if self.connection is not None:
            self.connection.drop()

    def fail(self, error: UpstreamError) -> None:
        """End the call with an error, unless it ended before."""
        if not self.ended:
            self.ended = True
            self.receiver.failed(error)
