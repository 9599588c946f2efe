"""Plain answers, and what they have in common with streamed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from ezkielyna import Nano, UpstreamError, Usage, chat_usage, usd_json
from ezkielyna_anthropic import carrier, errors
from ezkielyna_anthropic.tools import JSON_TOOL, Json

FINISH = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reason to finish reason; all others (`end_turn`, `pause_turn`, new ones) are `stop`."""

Price = Callable[[Usage], Nano]


@dataclass(frozen=True, slots=True)
class Shape:
    """In which form the client wants its answer.

    `legacy` is the endpoint /completions, `functions` the deprecated calls, `custom` the tools of
    free text, `json` the answer by a forced tool, `carry` thinking in the ids of calls.
    """

    legacy: bool = False
    functions: bool = False
    custom: frozenset[str] = frozenset()
    json: bool = False
    carry: bool = True
    wants_usage: bool = False
    created: int = 0

    def answers(self, name: str) -> bool:
        """True for the tool whose input is the text of the answer."""
        return self.json and name == JSON_TOOL

    def identity(self, message: Json, kind: str) -> Json:
        """Return the fields that begin an answer, or each chunk of one."""
        prefix = "cmpl-" if self.legacy else "chatcmpl-"
        return {
            "id": prefix + str(message.get("id", "")),
            "object": "text_completion" if self.legacy else kind,
            "created": self.created,
            "model": str(message.get("model", "")),
        }

    def finish(self, stop_reason: Any, *, called: bool) -> str:
        """Return the finish reason; `called` says whether the client gets a call."""
        reason = FINISH.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"
        if reason != "tool_calls":
            return reason
        if not called:
            return "stop"
        return "function_call" if self.functions else "tool_calls"


def usage_of(reported: Json) -> Usage:
    """Return Anthropic's numbers in disjoint buckets, as they already are but for thinking."""
    details = reported.get("output_tokens_details") or {}
    output = reported.get("output_tokens") or 0
    thinking = min(details.get("thinking_tokens") or 0, output)
    return Usage(
        input=reported.get("input_tokens") or 0,
        cached_input=reported.get("cache_read_input_tokens") or 0,
        cache_write=reported.get("cache_creation_input_tokens") or 0,
        output=output - thinking,
        reasoning=thinking,
    )


def shown(usage: Usage | None, price: Price | None) -> Json | None:
    """Return the usage as the client sees it; None where there is none to believe."""
    if usage is None or not usage.plausible:
        return None
    document = chat_usage(usage)
    if price is not None:
        document["cost"] = usd_json(price(usage))
    return document


def refusal_of(stop_details: Any) -> str | None:
    """Return why the upstream refused, where it says so."""
    explanation = stop_details.get("explanation") if isinstance(stop_details, dict) else None
    return explanation if isinstance(explanation, str) else None


def free_text(arguments: Any) -> str:
    """Return the input of a custom tool: the one string among its arguments."""
    text = arguments.get("input") if isinstance(arguments, dict) else None
    return text if isinstance(text, str) else orjson.dumps(arguments).decode()


class Message:
    """A whole message of Anthropic, read once into what OpenAI's answer is made of."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._text = ""
        self._reasoning = ""
        self._thoughts: list[Json] = []
        self._untold: list[carrier.Placed] = []
        self._calls: list[Json] = []

    def answer(self, message: Json, usage: Json | None) -> bytes:
        """Return the body of the answer."""
        for block in message["content"]:
            self._read(block)
        reason = self._shape.finish(message.get("stop_reason"), called=bool(self._calls))
        choice: Json = {"index": 0, "logprobs": None, "finish_reason": reason}
        if self._shape.legacy:
            choice["text"] = self._text
        else:
            choice["message"] = self._message(refusal_of(message.get("stop_details")))
        document = self._shape.identity(message, "chat.completion")
        document["choices"] = [choice]
        if usage is not None:
            document["usage"] = usage
        return orjson.dumps(document)

    def _read(self, block: Json) -> None:
        kind = block["type"]
        if kind == "text":
            self._text += block["text"]
        elif kind == "tool_use":
            self._call(block)
        elif kind == "thinking":
            self._reasoning += block["thinking"]
        if carrier.thinking(block):
            self._thoughts.append(block)
            self._untold.append((len(self._text), block))

    def _call(self, block: Json) -> None:
        name, arguments = block["name"], block["input"]
        if self._shape.answers(name):
            self._text += orjson.dumps(arguments).decode()
            return
        carried = self._untold if self._shape.carry else []
        call: Json = {"id": carrier.packed(block["id"], carried)}
        self._untold = []
        if name in self._shape.custom:
            call |= {"type": "custom", "custom": {"name": name, "input": free_text(arguments)}}
        else:
            text = orjson.dumps(arguments).decode()
            call |= {"type": "function", "function": {"name": name, "arguments": text}}
        self._calls.append(call)

    def _message(self, refusal: str | None) -> Json:
        content = None if self._calls and not self._text else self._text
        message: Json = {"role": "assistant", "content": content, "refusal": refusal}
        if self._reasoning:
            message["reasoning_content"] = self._reasoning
        if self._thoughts:
            message["thinking_blocks"] = self._thoughts
        if self._calls and self._shape.functions:
            message["function_call"] = self._calls[0]["function"]
        elif self._calls:
            message["tool_calls"] = self._calls
        return message


def parsed(body: bytes) -> Json:
    """Return the message that a body of status 200 holds; raises UpstreamError for none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and document.get("type") == "error":
        raise errors.from_event(document)
    if not isinstance(document, dict) or not isinstance(document.get("content"), list):
        raise UpstreamError("The upstream's answer is not a message.")
    return document
