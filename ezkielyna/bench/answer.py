"""One request under way and the clock beside it: a receiver for `wire.upstream`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ezkielyna.bench.tally import Record, Tally
from ezkielyna.contract.errors import UpstreamError
from ezkielyna.wire.sse import EventReader, parsed

_DONE = b"data: [DONE]"
_CONTENT = ("content", "reasoning_content", "reasoning", "text", "tool_calls", "refusal")


class Answer:
    """Times the answer of one request.

    `ended` is called once, after the tally has it, with False where the connection failed.

    A stream's events are cut apart but, after the first that brings content, not parsed: only
    those without content are, which report usage, an error or the end.
    """

    __slots__ = (
        "_body", "_chunks", "_done", "_due", "_ended", "_error", "_first_byte", "_first_token",
        "_input_tokens", "_last", "_last_token", "_longest_gap", "_mark", "_output_tokens",
        "_reader", "_sent", "_status", "_tally", "_usage",
    )  # fmt: skip

    def __init__(
        self, tally: Tally, due: float, input_tokens: int, ended: Callable[[Answer, bool], None]
    ) -> None:
        self._tally = tally
        self._ended = ended
        self._due = due
        self._sent = time.monotonic()
        self._input_tokens = input_tokens
        self._output_tokens = 0
        self._status = self._chunks = 0
        self._first_byte: float | None = None
        self._first_token: float | None = None
        self._last_token: float | None = None
        self._last: float | None = None  # the last read that brought events
        self._longest_gap = 0.0
        self._reader: EventReader | None = None
        self._body: list[bytes] = []
        self._mark = b""  # what every event with content holds, learnt from the first one
        self._usage: dict[str, Any] = {}
        self._done = False
        self._error = ""

    # What the connection says.

    def headers_received(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the status, and whether events follow."""
        self._status = status
        if status == 200 and headers.get("content-type", "").startswith("text/event-stream"):
            self._reader = EventReader()

    def data_received(self, data: bytes) -> None:
        """Time one read of the body."""
        now = time.monotonic()
        if self._first_byte is None:
            self._first_byte = now
        if self._reader is None:
            self._body.append(data)
            return
        before = self._chunks
        for block in self._reader.blocks(data):
            self._event(block, now)
        if self._chunks > before:
            self._read(now, self._chunks - before)

    def finished(self) -> None:
        """Count the request."""
        now = time.monotonic()
        if self._reader is None:
            self._plain(now)
        elif not self._done and not self._error:
            self._error = "the stream ended without [DONE]"
        self._count(now)
        self._ended(self, True)

    def failed(self, error: UpstreamError) -> None:
        """Count a request that the connection failed."""
        cause = error.__cause__
        reason = getattr(cause, "strerror", None) or (str(cause) if cause else "")
        self._error = f"{error}{f' ({reason})' if reason else ''}"
        self._count(time.monotonic())
        self._ended(self, False)

    def cut(self, reason: str) -> None:
        """Count a request that nobody waits for any longer."""
        self._error = reason
        self._count(time.monotonic())

    # What an event says.

    def _event(self, block: bytes, now: float) -> None:
        if not block.startswith(b"data:"):
            event = parsed(block)  # a comment, or a field before the data
            if event is None:
                return
            block = b"data: " + event.data
        if self._mark and self._mark in block:
            self._output_tokens += 1
            self._chunks += 1
            self._last_token = now
        elif block.startswith((_DONE, b"data:[DONE]")):
            self._done = True
        else:
            self._chunks += 1
            self._document(_json(block[5:]), block, now)

    def _document(self, document: dict[str, Any], block: bytes, now: float) -> None:
        if document.get("error"):
            self._error = f"in the stream: {_error_name(document)}"
        if document.get("usage"):
            self._usage = document["usage"]
        if (name := _content_field(document)) is not None:
            self._output_tokens += 1
            self._last_token = now
            if self._first_token is None:
                self._first_token = now
            if not self._mark:
                self._mark = _mark(name, block)

    def _read(self, now: float, chunks: int) -> None:
        last, self._last = self._last, now
        gap = None if last is None else now - last
        if gap is not None and gap > self._longest_gap:
            self._longest_gap = gap
        self._tally.chunk(now, chunks, gap)

    def _plain(self, now: float) -> None:
        document = _json(b"".join(self._body))
        if self._status != 200:
            self._error = f"{self._status} {_error_name(document)}".strip()
            return
        if not document or document.get("error"):
            self._error = f"200 but {_error_name(document) or 'no JSON'}"
        self._usage = document.get("usage") or {}

    def _count(self, now: float) -> None:
        opens = self._tally.opens

        def after(moment: float | None) -> float | None:
            return None if moment is None else moment - opens

        record = Record(
            start=self._due - opens,
            sent=self._sent - opens,
            first_byte=after(self._first_byte),
            first_token=after(self._first_token),
            end=now - opens,
            status=self._status,
            input_tokens=int(self._usage.get("prompt_tokens") or self._input_tokens),
            output_tokens=int(self._usage.get("completion_tokens") or self._output_tokens),
            chunks=self._chunks,
            longest_gap=self._longest_gap,
            last_token=after(self._last_token),
            error=self._error,
        )
        self._tally.request(record)


def _json(text: bytes) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _content_field(document: dict[str, Any]) -> str | None:
    """Return the field in which a chunk brings content; None where it brings none."""
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    delta = choice.get("delta")
    holder = delta if isinstance(delta, dict) else choice
    return next((name for name in _CONTENT if holder.get(name)), None)


def _mark(name: str, block: bytes) -> bytes:
    """Return the bytes by which further events of this answer with text in the field are known.

    Tool calls are objects and have no such bytes: their events are parsed one by one.
    """
    for spelling in (f'"{name}":"', f'"{name}": "'):
        if spelling.encode() in block:
            return spelling.encode()
    return b""


def _error_name(document: dict[str, Any]) -> str:
    """Return the stable word of an error; never its message, which may repeat what was sent."""
    error = document.get("error")
    if isinstance(error, dict):
        return str(error.get("type") or error.get("code") or "an error")
    return "an error" if error else ""
