"""Server-sent events from bytes; pure. Rules of the WHATWG HTML standard, section 9.2.6.

Lines end with `\\n`, `\\r` or `\\r\\n`, events with a blank line. All of it works on bytes, because
`str.splitlines` would also cut at U+2028 and its like, inside of JSON strings.
"""

from __future__ import annotations

from dataclasses import dataclass

from ezkielyna.contract.errors import UpstreamError

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""A streamed image of 4096 by 4096 pixels, in base64, fits; what is larger is refused."""


_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `event:` field ("" when absent) and its `data:` lines joined by `\\n`."""

    name: str
    data: bytes


class EventReader:
    """Cuts a byte stream into events. Any split of the input gives the same events."""

    __slots__ = ("_after_return", "_held", "_rest", "_rest_bytes", "_started")

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of the event that is not complete; joined once, at its end
        self._rest_bytes = 0
        self._after_return = False
        self._started = False
        self._held = b""  # what may become a byte order mark

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete; raises UpstreamError for an endless one."""
        return [event for block in self.blocks(data) if (event := parsed(block)) is not None]

    def blocks(self, data: bytes) -> list[bytes]:
        """Return the raw events that these bytes complete, without their blank line.

        Line ends are normalised to `\\n`; comments are kept.
        """
        if not self._started:
            data = self._without_mark(data)
        data = self._normalised(data)
        rest = self._rest
        if b"\n\n" not in data and not (data[:1] == b"\n" and rest and rest[-1][-1:] == b"\n"):
            if data:
                self._keep(data)
            return []
        rest.append(data)
        parts = b"".join(rest).split(b"\n\n")
        rest.clear()
        self._rest_bytes = 0
        if last := parts.pop():
            self._keep(last)
        return [block for part in parts if (block := part.strip(b"\n"))]

    def close(self) -> list[Event]:
        """Return an event that the end of the stream cut off from its blank line, if any.

        The standard discards it; several servers end their last event this way.
        """
        block = b"".join([self._held, *self._rest]).strip(b"\n")
        self._held = b""
        self._rest.clear()
        event = parsed(block) if block else None
        return [event] if event is not None else []

    def _keep(self, data: bytes) -> None:
        self._rest.append(data)
        self._rest_bytes += len(data)
        if self._rest_bytes > MAX_EVENT_BYTES:
            raise UpstreamError("The upstream sent an event that is too large.")

    def _without_mark(self, data: bytes) -> bytes:
        """Return the start of the stream without its byte order mark; b"" while that may come."""
        data = self._held + data
        self._held = b""
        if len(data) < len(_MARK) and _MARK.startswith(data):
            self._held = data
            return b""
        self._started = True
        return data.removeprefix(_MARK)

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
