"""Streamed answers: Anthropic's events to OpenAI's chunks, event by event, nothing held back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from ezkielyna import Delivered, EventReader, UpstreamError, Usage
from ezkielyna_anthropic import carrier, errors
from ezkielyna_anthropic.answer import Shape, free_text, refusal_of, usage_of
from ezkielyna_anthropic.tools import Json

DONE = b"data: [DONE]\n\n"
BYTES_PER_TOKEN = 4


class _Block:
    """One content block while it streams; `index` is that of the client's call."""

    __slots__ = ("fragments", "index", "kind", "signature", "start")

    def __init__(self, kind: str, start: Json, index: int = 0) -> None:
        self.kind = kind
        self.start = start
        self.index = index
        self.fragments: list[str] = []
        self.signature = ""


class Stream:
    """Translates one stream. Any split of the input gives the same output.

    `show` makes what the client sees of the final usage.
    """

    def __init__(self, shape: Shape, show: Callable[[Usage], Json | None]) -> None:
        self._usage: Usage | None = None
        self._shape = shape
        self._show = show
        self._reader = EventReader()
        self._error: UpstreamError | None = None
        self._ended = False
        self._finished = False
        self._reported: Json = {}
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._untold: list[carrier.Placed] = []
        self._identity: Json = {}
        self._before = self._after = self._before_text = self._after_text = b""
        self._text: list[str] = []
        self._characters = 0
        self._reasoning: list[str] = []
        self._tools: list[str] = []
        self._bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Return the chunks that these bytes complete.

        Raises UpstreamError for an error in the stream; what came before it is returned first, so
        that the split of the input makes no difference, and the error is raised by the next call.
        """
        out: list[bytes] = []
        if self._error is None:
            try:
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
        out: list[bytes] = []
        if self._error is None:
            self._read(self._reader.close(), out)
        if self._error is not None:
            raise self._error
        if not self._ended:
            raise UpstreamError("The upstream closed the stream before its end.")
        return b"".join(out)

    def delivered(self) -> Delivered:
        """Return what was handed on so far."""
        return Delivered("".join(self._text), "".join(self._reasoning), "".join(self._tools))

    def usage(self) -> Usage | None:
        """Return what the upstream told at the end.

        Until then None while nothing was handed on, else its input and cache numbers, which it
        tells at the beginning, with the output counted; for billing a cut stream.
        """
        if self._usage is not None or not self._bytes:
            return self._usage
        told = {**self._reported, "output_tokens": max(1, self.progress())}
        return replace(usage_of(told), source="counted")

    def progress(self) -> int:
        """Return about how many tokens were handed on."""
        return self._bytes // BYTES_PER_TOKEN

    def _read(self, events: list[Any], out: list[bytes]) -> None:
        """Append the chunks of the events; `out` keeps those before an error."""
        try:
            for event in events:
                if self._ended:
                    return
                document = orjson.loads(event.data)
                kind = document["type"]
                if kind == "content_block_delta":
                    delta = document["delta"]
                    if delta["type"] == "text_delta" and self._before_text:
                        self._say(delta["text"], out)
                    else:
                        self._delta(self._blocks[document["index"]], delta, out)
                elif kind in _HANDLERS:
                    _HANDLERS[kind](self, document, out)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UpstreamError("The upstream sent an event that makes no sense.") from None

    def _say(self, text: str, out: list[bytes]) -> None:
        if text:
            encoded = orjson.dumps(text)
            self._text.append(text)
            self._characters += len(text)
            self._bytes += len(encoded) - 2
            out.append(self._before_text + encoded + self._after_text)

    def _chunk(self, delta: Json, out: list[bytes]) -> None:
        if not self._shape.legacy:
            out.append(self._before + orjson.dumps(delta) + self._after)

    def _started(self, document: Json, out: list[bytes]) -> None:
        if self._identity:
            return  # proxies repeat it
        message = document["message"]
        self._reported = dict(message.get("usage") or {})
        self._identity = self._shape.identity(message, "chat.completion.chunk")
        head = b"data: " + orjson.dumps(self._identity)[:-1] + b',"choices":[{"index":0,'
        tail = b',"logprobs":null,"finish_reason":null}]'
        tail += b',"usage":null}\n\n' if self._shape.wants_usage else b"}\n\n"
        self._before, self._after = head + b'"delta":', tail
        if self._shape.legacy:
            self._before_text, self._after_text = head + b'"text":', tail
        else:
            self._before_text, self._after_text = self._before + b'{"content":', b"}" + tail
        self._chunk({"role": "assistant", "content": ""}, out)

    def _block_started(self, document: Json, out: list[bytes]) -> None:
        start = document["content_block"]
        kind = start["type"]
        if kind == "tool_use":
            kind = self._call_kind(start["name"])
        block = _Block(kind, start, self._calls)
        self._blocks[document["index"]] = block
        if kind in ("function", "custom"):
            self._calls += 1
            self._call(block, out)
        elif kind == "text":
            self._say(start.get("text", ""), out)
        elif kind == "thinking" and start.get("thinking"):
            self._think(block, start["thinking"], out)

    def _call_kind(self, name: str) -> str:
        if self._shape.answers(name):
            return "json"
        return "custom" if name in self._shape.custom else "function"

    def _call(self, block: _Block, out: list[bytes]) -> None:
        name = block.start["name"]
        carried = self._untold if self._shape.carry else []
        self._untold = []
        if self._shape.functions:
            if block.index == 0:
                self._chunk({"function_call": {"name": name, "arguments": ""}}, out)
            return
        content = "input" if block.kind == "custom" else "arguments"
        call = {
            "index": block.index,
            "id": carrier.packed(block.start["id"], carried),
            "type": block.kind,
            block.kind: {"name": name, content: ""},
        }
        self._chunk({"tool_calls": [call]}, out)

    def _delta(self, block: _Block, delta: Json, out: list[bytes]) -> None:
        kind = delta["type"]
        if kind == "input_json_delta":
            if delta["partial_json"]:
                block.fragments.append(delta["partial_json"])
                self._argue(block, delta["partial_json"], out)
        elif kind == "thinking_delta":
            self._think(block, delta["thinking"], out)
        elif kind == "signature_delta":
            block.signature += delta["signature"]
        elif kind == "text_delta":
            raise UpstreamError("The upstream sent text before its message began.")

    def _argue(self, block: _Block, fragment: str, out: list[bytes]) -> None:
        """Hand on a piece of a call's arguments, or of the answer where the call is one."""
        if block.kind == "json":
            self._say(fragment, out)
        elif block.kind == "function":
            self._bytes += len(fragment.encode())
            self._tools.append(fragment)
            if self._shape.functions and block.index == 0:
                self._chunk({"function_call": {"arguments": fragment}}, out)
            elif not self._shape.functions:
                call = {"index": block.index, "function": {"arguments": fragment}}
                self._chunk({"tool_calls": [call]}, out)

    def _think(self, block: _Block, text: str, out: list[bytes]) -> None:
        if text:
            block.fragments.append(text)
            self._reasoning.append(text)
            self._bytes += len(text.encode())
            self._chunk({"reasoning_content": text}, out)

    def _block_stopped(self, document: Json, out: list[bytes]) -> None:
        block = self._blocks.pop(document["index"])
        if block.kind in ("thinking", "redacted_thinking"):
            self._thought(block, out)
        elif block.kind == "custom":
            self._free_text(block, out)
        elif block.kind in ("function", "json") and not block.fragments:
            # A call without arguments has only empty deltas; some proxies fill `input` at once.
            self._argue(block, orjson.dumps(block.start.get("input") or {}).decode(), out)

    def _thought(self, block: _Block, out: list[bytes]) -> None:
        """Hand on a whole block of thinking, which the client or a call's id brings back."""
        thought = block.start
        if block.kind == "thinking":
            signature = block.signature or block.start.get("signature", "")
            text = "".join(block.fragments)
            thought = {"type": "thinking", "thinking": text, "signature": signature}
        if carrier.thinking(thought):
            self._untold.append((self._characters, thought))
            self._chunk({"thinking_blocks": [thought]}, out)

    def _free_text(self, block: _Block, out: list[bytes]) -> None:
        """Hand on a custom tool's input, which is only known when its JSON is whole."""
        fragments = "".join(block.fragments)
        text = free_text(orjson.loads(fragments) if fragments else block.start.get("input"))
        self._tools.append(text)
        self._bytes += len(text.encode())
        self._chunk({"tool_calls": [{"index": block.index, "custom": {"input": text}}]}, out)

    def _message_changed(self, document: Json, out: list[bytes]) -> None:
        told = document.get("usage") or {}
        self._reported.update({name: value for name, value in told.items() if value is not None})
        self._usage = usage_of(self._reported)
        delta = document["delta"]
        if delta.get("stop_reason") is None or self._finished:
            return
        self._finished = True
        refusal = refusal_of(delta.get("stop_details"))
        if refusal is not None:
            self._chunk({"refusal": refusal}, out)
        reason = self._shape.finish(delta["stop_reason"], called=self._calls > 0)
        said: Json = {"text": ""} if self._shape.legacy else {"delta": {}}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        chunk = {**self._identity, "choices": [choice]}
        if self._shape.wants_usage:
            chunk["usage"] = None
        out.append(_event(chunk))

    def _stopped(self, document: Json, out: list[bytes]) -> None:
        if not self._finished:
            raise UpstreamError("The upstream ended its message without a reason.")
        shown = self._show(self._usage) if self._usage is not None else None
        if self._shape.wants_usage and shown is not None:
            out.append(_event({**self._identity, "choices": [], "usage": shown}))
        out.append(DONE)
        self._ended = True

    def _failed(self, document: Json, out: list[bytes]) -> None:
        raise errors.from_event(document)


_HANDLERS: dict[str, Callable[[Stream, Json, list[bytes]], None]] = {
    "message_start": Stream._started,
    "content_block_start": Stream._block_started,
    "content_block_stop": Stream._block_stopped,
    "message_delta": Stream._message_changed,
    "message_stop": Stream._stopped,
    "error": Stream._failed,
}


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
