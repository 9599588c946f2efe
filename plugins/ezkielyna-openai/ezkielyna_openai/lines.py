"""The lines of one server-sent event."""

from __future__ import annotations

from ezkielyna_openai.documents import loads

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""A streamed image of 4096 by 4096 pixels, in base64, fits; what is larger is refused."""


def payload(block: bytes) -> tuple[str, bytes]:
    """Return the name of an event and its data, in one line; no data for a comment.

    Several data lines are joined by a blank: where JSON may hold a line end, a blank will do.
    """
    if block.startswith(b"data: ") and b"\n" not in block:
        return "", block[6:]
    name = ""
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace").strip()
    return name, b" ".join(lines)


def complete(rest: bytes) -> bool:
    """True when the last, unfinished event is a whole one that only lacks its blank line."""
    _, data = payload(rest.strip(b"\n"))
    if data == b"[DONE]":
        return True
    try:
        loads(data)
    except ValueError:
        return False
    return True
