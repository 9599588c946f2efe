"""Answers: Anthropic's events to OpenAI's chunks, event by event, nothing held back.

A plain answer is read as the events that it would have been, so both always say the same.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from ezkielyna import (
    Delivered,
    Event,
    EventReader,
    Exchange,
    Headers,
    UpstreamError,
    UpstreamRequest,
    Usage,
    chat_usage,
    usd_json,
)
from ezkielyna_anthropic import carrier, errors
from ezkielyna_anthropic.fields import Json
from ezkielyna_anthropic.shape import Shape, free_text, refusal_of, usage_of

DONE = b"data: [DONE]\n\n"
BYTES_PER_TOKEN = 4

Chunks = list[bytes]


class _Block:
    """One content block while it is read; `at` is the index of the client's call."""

    __slots__ = ("at", "fragments", "id", "kind", "name", "signature", "start")

    def __init__(self, kind: str, start: Json, at: int) -> None:
        self.kind = kind
        self.start = start
        self.at = at
        self.id = ""
        self.name = start.get("name", "")
        self.signature = start.get("signature") or ""
        self.fragments: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.fragments)


class AnthropicExchange(Exchange):
    """One request to `/messages` and the translation of its answer."""

    def __init__(self, request: UpstreamRequest, shape: Shape, dropped: tuple[str, ...]) -> None:
        self.request = request
        self.dropped = dropped
        self._shape = shape
        self._reader = EventReader()
        self._error: UpstreamError | None = None
        self._finish = ""
        self._refusal: str | None = None
        self._ended = False
        self._identity: Json = {}
        self._reported: Json = {}
        self._usage: Usage | None = None
        self._blocks: dict[int, _Block] = {}
        self._calls: list[_Block] = []
        self._thoughts: list[Json] = []
        self._untold: list[carrier.Placed] = []
        self._before = self._after = self._before_text = self._after_text = b""
        self._text: list[str] = []
        self._characters = 0
        self._reasoning: list[str] = []
        self._bytes = 0

    @property
    def usage(self) -> Usage | None:  # type: ignore[override]  # computed when it is asked for
        """What the upstream told at the end.

        Until then None while nothing was handed on, else its input and cache numbers, which it
        tells at the beginning, with the output counted; for billing a cut stream.
        """
        if self._usage is not None or not self._bytes:
            return self._usage
        told = {**self._reported, "output_tokens": max(1, self.progress())}
        return usage_of(told)._replace(source="counted")

    def feed(self, data: bytes) -> bytes:
        """Return the chunks that these bytes complete.

        Raises UpstreamError for an error in the stream; what came before it is returned first, so
        that the split of the input makes no difference, and the error is raised by the next call.
        """
        out: Chunks = []
        try:
            if self._error is None:
                self._read(self._reader.feed(data), out)
        except UpstreamError as error:
            self._error = error
        if self._error is not None and not out:
            raise self._error
        return b"".join(out)

    def close(self) -> bytes:
        """Return what an event without its blank line still gives.

        Raises UpstreamError where the stream had an error or ended before its message did.
        """
        out: Chunks = []
        if self._error is not None:
            raise self._error
        self._read(self._reader.close(), out)
        if not self._ended:
            raise UpstreamError("The upstream closed the stream before its end.")
        return b"".join(out)

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the OpenAI-shaped body; raises UpstreamError where there is no message in it."""
        try:
            message = orjson.loads(body)
            if message.get("type") == "error":
                raise errors.from_document(message, 502)
            self._started({"message": message}, [])
            for index, block in enumerate(message["content"]):
                self._block_started({"index": index, "content_block": block}, [])
                self._block_stopped({"index": index}, [])
            self._changed({"delta": message, "usage": message.get("usage")}, [])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UpstreamError("The upstream's answer makes no sense.") from None
        choice = {"index": 0, **self._said(), "logprobs": None, "finish_reason": self._finish}
        identity = self._shape.identity(message, self.created, "chat.completion")
        return orjson.dumps({**identity, "choices": [choice], **self._shown()})

    def failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error that an answer with another status stands for."""
        return errors.from_answer(status, headers, body)

    def delivered(self) -> Delivered:
        """Return what was handed on so far."""
        tools = "".join([block.text for block in self._calls])
        return Delivered("".join(self._text), "".join(self._reasoning), tools)

    def progress(self) -> int:
        """Return about how many tokens were handed on."""
        return self._bytes // BYTES_PER_TOKEN

    def _said(self) -> Json:
        """Return the whole of a plain answer."""
        text = "".join(self._text)
        if self._shape.legacy:
            return {"text": text}
        content = text if text or not self._calls else None
        message: Json = {"role": "assistant", "content": content, "refusal": self._refusal}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._thoughts:
            message["thinking_blocks"] = self._thoughts
        if self._calls and self._shape.functions:
            first = self._calls[0]
            message["function_call"] = {"name": first.name, "arguments": first.text}
        elif self._calls:
            message["tool_calls"] = [self._call(block, block.text) for block in self._calls]
        return {"message": message}

    def _call(self, block: _Block, given: str) -> Json:
        inner = {"name": block.name, _content(block): given}
        return {"id": block.id, "type": block.kind, block.kind: inner}

    def _shown(self) -> Json:
        """Return the usage as the client sees it; empty where there is none to believe."""
        usage = self._usage
        if usage is None or not usage.plausible:
            return {}
        cost = {} if self.price is None else {"cost": usd_json(self.price(usage))}
        return {"usage": {**chat_usage(usage), **cost}}

    def _read(self, events: list[Event], out: Chunks) -> None:
        """Append the chunks of the events; `out` keeps those before an error."""
        try:
            for event in events:
                if self._ended:
                    return
                document = orjson.loads(event.data)
                kind = document["type"]
                if kind == "content_block_delta":
                    delta = document["delta"]
                    if delta["type"] == "text_delta":
                        self._say(delta["text"], out)
                    else:
                        self._continued(self._blocks[document["index"]], delta, out)
                elif kind in _READERS:
                    _READERS[kind](self, document, out)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UpstreamError("The upstream sent an event that makes no sense.") from None

    def _say(self, text: str, out: Chunks) -> None:
        if not self._identity:
            raise KeyError("message_start")
        if text:
            encoded = orjson.dumps(text)
            self._text.append(text)
            self._characters += len(text)
            self._bytes += len(encoded) - 2
            out.append(self._before_text + encoded + self._after_text)

    def _chunk(self, delta: Json, out: Chunks) -> None:
        if not self._shape.legacy:
            out.append(self._before + orjson.dumps(delta) + self._after)

    def _started(self, document: Json, out: Chunks) -> None:
        if self._identity:
            return  # proxies repeat it
        message = document["message"]
        self._reported = dict(message.get("usage") or {})
        self._identity = self._shape.identity(message, self.created, "chat.completion.chunk")
        head = b"data: " + orjson.dumps(self._identity)[:-1] + b',"choices":[{"index":0,'
        tail = b',"logprobs":null,"finish_reason":null}]'
        tail += b',"usage":null}\n\n' if self._shape.wants_usage else b"}\n\n"
        self._before, self._after = head + b'"delta":', tail
        if self._shape.legacy:
            self._before_text, self._after_text = head + b'"text":', tail
        else:
            self._before_text, self._after_text = self._before + b'{"content":', b"}" + tail
        self._chunk({"role": "assistant", "content": ""}, out)

    def _block_started(self, document: Json, out: Chunks) -> None:
        start = document["content_block"]
        block = _Block(self._shape.kind(start), start, len(self._calls))
        self._blocks[document["index"]] = block
        if block.kind == "text":
            self._say(start.get("text") or "", out)
        elif block.kind == "thinking":
            self._think(block, start.get("thinking") or "", out)
        elif block.kind in ("function", "custom"):
            self._calls.append(block)
            block.id = carrier.packed(start["id"], self._untold if self._shape.carry else [])
            self._untold = []
            if not self._shape.functions:
                self._chunk({"tool_calls": [{"index": block.at, **self._call(block, "")}]}, out)
            elif block.at == 0:
                self._chunk({"function_call": {"name": block.name, "arguments": ""}}, out)

    def _continued(self, block: _Block, delta: Json, out: Chunks) -> None:
        kind = delta["type"]
        if kind == "input_json_delta":
            if delta["partial_json"]:
                self._argue(block, delta["partial_json"], out)
        elif kind == "thinking_delta":
            self._think(block, delta["thinking"], out)
        elif kind == "signature_delta":
            block.signature += delta["signature"]

    def _argue(self, block: _Block, fragment: str, out: Chunks) -> None:
        """Hand on a piece of a call's arguments, or of the answer where the call is one."""
        block.fragments.append(fragment)
        if block.kind == "json":
            self._say(fragment, out)
        elif block.kind in ("function", "custom"):
            self._bytes += len(fragment.encode())
            if block.kind == "function":
                self._argument(block, fragment, out)

    def _argument(self, block: _Block, fragment: str, out: Chunks) -> None:
        if not self._shape.functions:
            inner = {_content(block): fragment}
            self._chunk({"tool_calls": [{"index": block.at, block.kind: inner}]}, out)
        elif block.at == 0:
            self._chunk({"function_call": {"arguments": fragment}}, out)

    def _think(self, block: _Block, text: str, out: Chunks) -> None:
        if text:
            block.fragments.append(text)
            self._reasoning.append(text)
            self._bytes += len(text.encode())
            self._chunk({"reasoning_content": text}, out)

    def _block_stopped(self, document: Json, out: Chunks) -> None:
        block = self._blocks.pop(document["index"])
        if block.kind in ("function", "custom", "json") and not block.fragments:
            # A call without arguments has only empty deltas; some proxies fill `input` at once.
            self._argue(block, orjson.dumps(block.start.get("input") or {}).decode(), out)
        if block.kind == "custom":
            block.fragments = [free_text(block.text)]
            self._argument(block, block.text, out)
        elif block.kind in ("thinking", "redacted_thinking"):
            thought = block.start
            if block.kind == "thinking":
                own = {"thinking": block.text, "signature": block.signature}
                thought = {"type": "thinking", **own}
            if carrier.thinking(thought):
                self._thoughts.append(thought)
                self._untold.append((self._characters, thought))
                self._chunk({"thinking_blocks": [thought]}, out)

    def _changed(self, document: Json, out: Chunks) -> None:
        told = document.get("usage") or {}
        self._reported |= {name: value for name, value in told.items() if value is not None}
        self._usage = usage_of(self._reported)
        delta = document["delta"]
        if delta.get("stop_reason") is None or self._finish:
            return
        self._finish = self._shape.finish(delta["stop_reason"], called=bool(self._calls))
        self._refusal = refusal_of(delta)
        if self._refusal is not None:
            self._chunk({"refusal": self._refusal}, out)
        last: Json = {"text": ""} if self._shape.legacy else {"delta": {}}
        choice = {"index": 0, **last, "logprobs": None, "finish_reason": self._finish}
        asked = {"usage": None} if self._shape.wants_usage else {}
        out.append(_event({**self._identity, "choices": [choice], **asked}))

    def _stopped(self, document: Json, out: Chunks) -> None:
        if not self._finish:
            raise UpstreamError("The upstream ended its message without a reason.")
        shown = self._shown()
        if self._shape.wants_usage and shown:
            out.append(_event({**self._identity, "choices": [], **shown}))
        out.append(DONE)
        self._ended = True

    def _failed(self, document: Json, out: Chunks) -> None:
        raise errors.from_document(document, 502)


_READERS: dict[str, Callable[[AnthropicExchange, Json, Chunks], None]] = {
    "message_start": AnthropicExchange._started,
    "content_block_start": AnthropicExchange._block_started,
    "content_block_stop": AnthropicExchange._block_stopped,
    "message_delta": AnthropicExchange._changed,
    "message_stop": AnthropicExchange._stopped,
    "error": AnthropicExchange._failed,
}


def _content(block: _Block) -> str:
    return "input" if block.kind == "custom" else "arguments"


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
