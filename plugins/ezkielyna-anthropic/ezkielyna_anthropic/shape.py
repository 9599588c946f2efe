"""What plain and streamed answers have in common: names, reasons, usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from ezkielyna import Usage
from ezkielyna_anthropic.fields import Json
from ezkielyna_anthropic.tools import JSON_TOOL

FINISH = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reason to finish reason; all others (`end_turn`, `pause_turn`, new ones) are `stop`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """In which form the client wants its answer.

    `legacy` is the endpoint /completions, `functions` the deprecated calls, `custom` the tools of
    free text, `json` the answer by a forced tool, `carry` thinking in the ids of calls.
    """

    legacy: bool
    functions: bool
    custom: frozenset[str]
    json: bool
    carry: bool
    wants_usage: bool

    def kind(self, block: Json) -> str:
        """Return the type of a block, and of a call what it is to the client."""
        if block["type"] != "tool_use":
            return str(block["type"])
        if self.json and block["name"] == JSON_TOOL:
            return "json"
        return "custom" if block["name"] in self.custom else "function"

    def identity(self, message: Json, created: int, kind: str) -> Json:
        """Return the fields that begin an answer, or each chunk of one."""
        return {
            "id": ("cmpl-" if self.legacy else "chatcmpl-") + str(message.get("id", "")),
            "object": "text_completion" if self.legacy else kind,
            "created": created,
            "model": str(message.get("model", "")),
        }

    def finish(self, stop_reason: str, *, called: bool) -> str:
        """Return the finish reason; `called` says whether the client gets a call."""
        reason = FINISH.get(stop_reason, "stop")
        if reason == "tool_calls" and not called:
            return "stop"
        return "function_call" if reason == "tool_calls" and self.functions else reason


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


def refusal_of(changed: Json) -> str | None:
    """Return why the upstream refused, where it says so."""
    details = changed.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) else None


def free_text(arguments: str) -> str:
    """Return the input of a custom tool: the one string among its arguments."""
    given = orjson.loads(arguments)
    text: Any = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments
