"""Answers: Anthropic's events to OpenAI's chunks, event by event, nothing held back.

A plain answer is read as the events that it would have been, so both always say the same.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from ezkielyna import UpstreamError, UpstreamRequest, Usage
from ezkielyna.dialect import CUT, Chat, ChatExchange, Choice, Json, ToolCall, url_citation
from ezkielyna_anthropic import carrier, errors
from ezkielyna_anthropic.tools import JSON_TOOL

FINISH = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reason to finish reason; all others (`end_turn`, `pause_turn`, new ones) are `stop`."""


class _Block:
    """One content block while it is read. `call` is what it is to the client; `began` is where its
    text begins among all text of the answer, in characters.
    """

    __slots__ = ("began", "call", "cited", "fragments", "kind", "signature", "start")

    def __init__(self, kind: str, start: Json, began: int) -> None:
        self.kind = kind
        self.start = start
        self.began = began
        self.call: ToolCall | None = None
        self.signature = start.get("signature") or ""
        self.fragments: list[str] = []
        self.cited: list[Json] = list(start.get("citations") or [])


class AnthropicExchange(ChatExchange):
    """One request to `/messages` and the translation of its answer.

    `json` says that calls of `JSON_TOOL` are the answer's text, `carry` that signed thinking
    travels in the ids of calls.
    """

    explained = staticmethod(errors.explained)

    def __init__(self, request: UpstreamRequest, chat: Chat, *, json: bool, carry: bool) -> None:
        super().__init__(request, chat)
        self._json = json
        self._carry = carry
        self._choice: Choice | None = None
        self._reported: Json = {}
        self._blocks: dict[int, _Block] = {}
        self._thoughts: list[Json] = []
        self._untold: list[carrier.Placed] = []
        self._characters = 0

    def reported(self) -> Usage | None:
        """Return what is known before the upstream's end, for billing a cut stream.

        Nothing while nothing was handed on, else its input and cache numbers, which it tells at the
        beginning, with the output estimated by size.
        """
        if not self.telling.size:
            return None
        told = {**self._reported, "output_tokens": max(1, self.progress())}
        return usage_of(told)._replace(source="estimated")

    def told(self, document: Json) -> None:
        """Tell a whole message as the events that it would have been."""
        self._started({"message": document})
        for index, block in enumerate(document["content"]):
            self._block_started({"index": index, "content_block": block})
            self._block_stopped({"index": index})
        self._changed({"delta": document, "usage": document.get("usage")})

    def event(self, document: Json) -> None:
        """Tell one event; unknown ones say nothing."""
        kind = document["type"]
        if kind == "content_block_delta":
            delta = document["delta"]
            if delta["type"] == "text_delta":
                self._say(delta["text"])
            else:
                self._continued(self._blocks[document["index"]], delta)
        elif kind in _READERS:
            _READERS[kind](self, document)

    @property
    def _told(self) -> Choice:
        if self._choice is None:
            raise KeyError("message_start")
        return self._choice

    def _say(self, text: str) -> None:
        choice = self._told
        if text:
            self._characters += len(text)
            self.telling.say(choice, text)

    def _started(self, document: Json) -> None:
        if self._choice is not None:
            return  # proxies repeat it
        message = document["message"]
        self._reported = dict(message.get("usage") or {})
        identifier, model = str(message.get("id", "")), str(message.get("model", ""))
        self.telling.begin(identifier, model, self.created)
        self._choice = self.telling.choice()

    def _block_started(self, document: Json) -> None:
        start = document["content_block"]
        kind = str(start["type"])
        if kind == "tool_use" and self._json and start["name"] == JSON_TOOL:
            kind = "json"
        block = self._blocks[document["index"]] = _Block(kind, start, self._characters)
        if kind == "text":
            self._say(start.get("text") or "")
        elif kind == "thinking":
            self._think(block, start.get("thinking") or "")
        elif kind == "tool_use":
            identifier = carrier.packed(start["id"], self._untold if self._carry else [])
            self._untold = []
            block.call = self.telling.call(self._told, identifier, start["name"])

    def _continued(self, block: _Block, delta: Json) -> None:
        kind = delta["type"]
        if kind == "input_json_delta":
            fragment = delta["partial_json"]
            if fragment and block.call is not None:
                self.telling.argue(self._told, block.call, fragment)
            elif fragment and block.kind == "json":
                block.fragments.append(fragment)
                self._say(fragment)
        elif kind == "thinking_delta":
            self._think(block, delta["thinking"])
        elif kind == "signature_delta":
            block.signature += delta["signature"]
        elif kind == "citations_delta":
            block.cited.append(delta["citation"])

    def _think(self, block: _Block, text: str) -> None:
        if text:
            block.fragments.append(text)
            self.telling.think(self._told, text)

    def _block_stopped(self, document: Json) -> None:
        block = self._blocks.pop(document["index"])
        if block.call is not None:
            # A call without arguments has only empty deltas; some proxies fill `input` at once.
            self.telling.called(self._told, block.call, block.start.get("input"))
        elif block.kind == "json" and not block.fragments:
            self._say(orjson.dumps(block.start.get("input") or {}).decode())
        elif block.kind == "text":
            for citation in block.cited:
                self._cite(block, citation)
        elif block.kind in ("thinking", "redacted_thinking"):
            self._thought(block)

    def _thought(self, block: _Block) -> None:
        """Tell a block of thinking once it is whole, for clients that return it."""
        thought = block.start
        if block.kind == "thinking":
            own = {"thinking": "".join(block.fragments), "signature": block.signature}
            thought = {"type": "thinking", **own}
        if carrier.thinking(thought):
            self._thoughts.append(thought)
            self._untold.append((self._characters, thought))
            self._told.extra["thinking_blocks"] = self._thoughts
            self.telling.add(self._told, {"thinking_blocks": [thought]})

    def _cite(self, block: _Block, citation: Json) -> None:
        """Tell a citation of a page; those of documents have no counterpart, and stay as they are
        for clients that know them.
        """
        if isinstance(citation.get("url"), str):
            title = str(citation.get("title") or "")
            note = url_citation(citation["url"], title, block.began, self._characters)
            self.telling.cite(self._told, note)
        else:
            self._told.extra.setdefault("citations", []).append(citation)
            self.telling.add(self._told, {"citations": [citation]})

    def _changed(self, document: Json) -> None:
        told = document.get("usage") or {}
        self._reported |= {name: value for name, value in told.items() if value is not None}
        self.usage = usage_of(self._reported)
        delta, choice = document["delta"], self._told
        if delta.get("stop_reason") is None or choice.reason:
            return
        details = delta.get("stop_details")
        why = details.get("explanation") if isinstance(details, dict) else None
        if isinstance(why, str):
            self.telling.refuse(choice, why)
        self.telling.finish(choice, FINISH.get(delta["stop_reason"], "stop"))

    def _stopped(self, document: Json) -> None:
        if not self._told.reason:
            raise UpstreamError(CUT)
        self.end()

    def _failed(self, document: Json) -> None:
        raise errors.explained(document, 200, None) or UpstreamError(CUT)


_READERS: dict[str, Callable[[AnthropicExchange, Json], None]] = {
    "message_start": AnthropicExchange._started,
    "content_block_start": AnthropicExchange._block_started,
    "content_block_stop": AnthropicExchange._block_stopped,
    "message_delta": AnthropicExchange._changed,
    "message_stop": AnthropicExchange._stopped,
    "error": AnthropicExchange._failed,
}


def usage_of(reported: Json) -> Usage:
    """Return Anthropic's numbers in disjoint buckets, as they already are but for thinking."""
    output = reported.get("output_tokens") or 0
    details = reported.get("output_tokens_details") or {}
    thinking = min(details.get("thinking_tokens") or 0, output)
    return Usage(
        input=reported.get("input_tokens") or 0,
        cached_input=reported.get("cache_read_input_tokens") or 0,
        cache_write=reported.get("cache_creation_input_tokens") or 0,
        output=output - thinking,
        reasoning=thinking,
    )
