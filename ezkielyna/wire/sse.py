"""Server-sent events from bytes; pure. Rules of the WHATWG HTML standard, section 9.2.6.

Lines end with `\\n`, `\\r` or `\\r\\n`, events with a blank line. All of it works on bytes, because
`str.splitlines` would also cut at U+2028 and its like, inside of JSON strings.
"""

from __future__ import annotations

from dataclasses import dataclass

from ezkielyna.contract.errors import UpstreamError

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""A streamed image of 4096 by 4096 pixels, in base64, fits; what is larger is refused."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `event:` field ("" when absent) and its `data:` lines joined by `\\n`."""

    name: str
    data: bytes


class EventReader:
    """Cuts a byte stream into events. Any split of the input gives the same events."""

    __slots__ = ("_after_return", "_rest", "_started")

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete; raises UpstreamError for an endless one."""
        return [event for block in self.blocks(data) if (event := parsed(block)) is not None]

    def blocks(self, data: bytes) -> list[bytes]:
        """Return the raw events that these bytes complete, without their blank line.

        Line ends are normalised to `\\n`; comments are kept.
        """
        if not self._started and data:
            self._started = True
            data = data.removeprefix(b"\xef\xbb\xbf")
        parts = (self._rest + self._normalised(data)).split(b"\n\n")
        self._rest = parts.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise UpstreamError("The upstream sent an event that is too large.")
        return [block for part in parts if (block := part.strip(b"\n"))]

    def close(self) -> list[Event]:
        """Return an event that the end of the stream cut off from its blank line, if any.

        The standard discards it; several servers end their last event this way.
        """
        block, self._rest = self._rest.strip(b"\n"), b""
        event = parsed(block) if block else None
        return [event] if event is not None else []

    def _normalised(self, data: bytes) -> bytes:
        if self._after_return and data:
            self._after_return = False
            data = data.removeprefix(b"\n")
        if b"\r" not in data:
            return data
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def parsed(block: bytes) -> Event | None:
    """Return the event that a block's lines make; None where it has no data (a comment)."""
    name = ""
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return Event(name, b"\n".join(lines)) if lines else None
