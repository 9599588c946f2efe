"""A head that a connection sent before, recognised by its bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from ezkielyna.wire.received import ReceivedHeaders

if TYPE_CHECKING:
    from tornado.httputil import RequestStartLine

    from ezkielyna.wire.request_connection import RequestConnection

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})\r\n", re.IGNORECASE)
_DIGITS = 9
_NEVER = (b"expect", b"transfer-encoding")


class RepeatedHead:
    """The bytes of a head up to the number in its Content-Length and from there on.

    Clients repeat their head on a connection, but for that number. What the parser took once it
    would take again, so a request with such a head that came whole in one read needs no parser.
    Anything else does: another head, a part of a request, more than one.
    """

    __slots__ = ("_after", "_before", "headers", "line")

    def __init__(
        self, before: bytes, after: bytes, line: RequestStartLine, headers: ReceivedHeaders
    ) -> None:
        self._before = before
        self._after = after
        self.headers = headers
        self.line = line

    @classmethod
    def of(cls, data: bytes, request: RequestConnection) -> Self | None:
        """Return the head of a request that was parsed from just these bytes, if it may come again.

        Its Content-Length is the parser's, and what follows the head found here is as long: so
        this is where the parser found the head's end, whatever the body looks like.
        """
        headers = request.headers
        assert isinstance(headers, ReceivedHeaders)
        seen, length = headers.values_by_name, _LENGTH.search(data)
        if length is None or seen.get(b"content-length") != length[1]:
            return None
        end = data.find(b"\r\n\r\n", length.end() - 2) + 4
        whole = end + int(length[1]) == len(data)
        if not whole or headers.repeated or not request.keep_alive:
            return None
        if any(name in seen for name in _NEVER):
            return None
        return cls(data[: length.start(1)], data[length.end(1) : end], request.start_line, headers)

    def body(self, data: bytes) -> bytes | None:
        """Return the body of a request that is just these bytes; None where it must be parsed."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        end = data.find(b"\r", len(before), len(before) + _DIGITS + 1)
        digits = data[len(before) : end]
        if end < 0 or not digits.isdigit() or not data.startswith(after, end):
            return None
        begin = end + len(after)
        return data[begin:] if begin + int(digits) == len(data) else None
