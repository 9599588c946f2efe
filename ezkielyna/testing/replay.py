"""What a client should see of a recorded answer, worked out by other means than the gateway's.

Recordings are those of servers that speak OpenAI's dialect. `repairs` are the names of what the
provider puts right for this server, as its README lists them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Protocol

import orjson

from ezkielyna.testing.recordings import Recording

Document = dict[str, Any]

CONTENT = {
    "chat.completions": "choices",
    "completions": "choices",
    "embeddings": "data",
    "images.generations": "data",
}
BUILT: dict[str, Document] = {
    "chat.completions": {"messages": [{"role": "user", "content": "Hello"}]},
    "completions": {"prompt": "Hello"},
    "embeddings": {"input": "Hello"},
    "images.generations": {"prompt": "A square"},
}
"""Requests for recordings that kept the answer alone."""

REASONS = {"eos": "stop", "eos_token": "stop", "end_turn": "stop", "model_length": "length"}
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
ERRORS = {400: 400, 404: 400, 422: 400, 401: 502, 403: 502, 429: 429, 500: 502, 501: 502, 503: 503}
"""The status that a client sees for an upstream's."""


class Habits(Protocol):
    """What a server takes."""

    @property
    def drop_fields(self) -> tuple[str, ...]:
        """The fields that it is never sent."""

    @property
    def one_limit(self) -> bool:
        """Whether it knows `max_tokens` only."""

    @property
    def usage_in_stream(self) -> bool:
        """Whether it takes `stream_options`."""


def foreign(recording: Recording) -> bool:
    """True for a plain answer of status 200 that is none of this endpoint's."""
    if recording.mode == "sse" or recording.status != 200:
        return False
    content = orjson.loads(recording.response.body).get(CONTENT[recording.endpoint])
    return not isinstance(content, list)


def left_out(recording: Recording) -> str:
    """Return why a recording cannot be replayed; empty for those that can."""
    if "/organization/" in recording.url or foreign(recording):
        return "the answer of another API"
    return ""


def asked_with(recording: Recording, model: str, *, wants: bool | None = None) -> Document:
    """Return the request to send: the recorded one, or one made up where none was kept.

    `wants` says whether a stream asks for its usage; None leaves that as recorded.
    """
    body = recording.request.body
    request: Document = orjson.loads(body) if body else dict(BUILT[recording.endpoint])
    request["model"] = model
    if recording.mode == "sse":
        request["stream"] = True
        if wants is not None:
            request.pop("stream_options", None)
        if wants:
            request["stream_options"] = {"include_usage": True}
    return request


def asked_of_upstream(request: Document, habits: Habits, streamed: bool = False) -> Document:
    """Return the request as the upstream should get it."""
    asked = {name: value for name, value in request.items() if value is not None}
    if streamed and habits.usage_in_stream:
        asked["stream_options"] = {**asked.get("stream_options", {}), "include_usage": True}
    if habits.one_limit and "max_completion_tokens" in asked:
        asked["max_tokens"] = asked.pop("max_completion_tokens")
    return {name: value for name, value in asked.items() if name not in habits.drop_fields}


def events_in(recording: Recording) -> list[Document]:
    """Return the events of a recorded stream, read as tolerantly as can be."""
    text = recording.response.body.decode().replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.startswith("data:") and "[DONE]" not in line]
    return [orjson.loads(line[5:]) for line in lines]


def was_cut(recording: Recording) -> bool:
    """True for streams that end with an error, or that were cut short by hand."""
    if recording.mode != "sse":
        return False
    body = recording.response.body.replace(b" ", b"")
    return b"event:error" in body or (b'finish_reason":"' not in body and b"[DONE]" not in body)


def told_plain(recording: Recording, repairs: Collection[str]) -> Document:
    """Return a plain answer as the client should see it, its usage as recorded."""
    document: Document = orjson.loads(recording.response.body)
    for choice in document.get("choices", []):
        _choice(choice, "message", repairs)
        if "tool_calls" in repairs:
            calls = (choice.get("message") or {}).get("tool_calls") or []
            without = [call for call in calls if "index" not in call]
            _number(calls, [])
            for call in without:
                del call["index"]
    return document


def told_events(
    recording: Recording, repairs: Collection[str], *, wants: bool
) -> tuple[list[Document], Document | None]:
    """Return the events of a stream without the usage chunk, and the usage as recorded."""
    told: list[Document] = []
    usage: Document | None = None
    spoken: set[int] = set()
    calls: dict[int, list[str]] = {}
    for event in events_in(recording):
        extension: Document = next((event[name] for name in event if _holds_usage(name, event)), {})
        stated = extension.pop("usage", None)
        found = event.get("usage") or stated
        usage = found or usage
        if event.get("choices") == [] and (found or "empty_choices" in repairs):
            continue
        if found and wants and "usage" in event:
            event["usage"] = None
        elif not wants or found:
            event.pop("usage", None)
        for choice in event.get("choices", []):
            _choice(choice, "delta", repairs)
            delta, index = choice.get("delta", {}), choice.get("index", 0)
            if "tool_calls" in repairs:
                _number(delta.get("tool_calls") or [], calls.setdefault(index, []))
            if "role" in repairs and "role" in delta:
                if index in spoken:
                    del delta["role"]
                spoken.add(index)
            if "message" in repairs:
                choice.pop("message", None)
        told.append(event)
    return told, usage


def _holds_usage(name: str, event: Document) -> bool:
    return name.startswith("x_") and isinstance(event[name], dict) and "usage" in event[name]


def _choice(choice: Document, name: str, repairs: Collection[str]) -> None:
    message = choice.get(name)
    if "finish_reasons" in repairs and choice.get("finish_reason") in REASONS:
        choice["finish_reason"] = REASONS[choice["finish_reason"]]
    if not isinstance(message, dict):
        return
    if "parts" in repairs and isinstance(message.get("content"), list):
        _join(message)
    if "reasoning" in repairs and "reasoning" in message:
        reasoning = message.pop("reasoning")
        if reasoning is not None and not message.get("reasoning_content"):
            message["reasoning_content"] = reasoning


def _number(calls: list[Document], known: list[str]) -> None:
    """Give every call of a choice the index of its id among the ids so far."""
    for call in calls:
        identity = call.get("id")
        if identity and identity not in known:
            known.append(identity)
            call.setdefault("type", "function")
        call["index"] = known.index(identity) if identity else call.get("index", len(known) - 1)


def _join(message: Document) -> None:
    parts = message["content"]
    message["content"] = "".join(part.get("text", "") for part in parts)
    steps = [step for part in parts for step in part.get("thinking", [])]
    if steps:
        message["reasoning_content"] = "".join(step["text"] for step in steps)


def first_said(recording: Recording, repairs: Collection[str]) -> tuple[str, list[Document]]:
    """Return the text and the tool calls of the first choice, as a client should have them."""
    if recording.mode == "json":
        message = told_plain(recording, repairs)["choices"][0]["message"]
        calls = [call["function"] for call in message.get("tool_calls") or []]
        return message.get("content") or "", calls
    text = ""
    found: dict[int, Document] = {}
    for event in told_events(recording, repairs, wants=False)[0]:
        for choice in event["choices"][:1]:
            if choice.get("index"):
                continue
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls") or []:
                known = found.setdefault(call["index"], {"name": "", "arguments": ""})
                known["name"] = call["function"].get("name") or known["name"]
                known["arguments"] += call["function"].get("arguments") or ""
    return text, list(found.values())


def cost_of(usage: Document, images: int = 0) -> tuple[Document, int]:
    """Return the counts that the client should see, and what they cost in nano-dollars.

    At 1 USD per million tokens in, 0.5 from a cache, 4 out, and 0.04 USD an image.
    """
    told = {name: usage[name] for name in COUNTS if name in usage}
    come = _count(usage, "prompt_tokens", "input_tokens")
    gone = _count(usage, "completion_tokens", "output_tokens")
    reasoning = _count(usage.get("completion_tokens_details") or {}, "reasoning_tokens")
    if reasoning and usage.get("total_tokens") == come + gone + reasoning:
        gone += reasoning
        told["completion_tokens"] = gone
    if "prompt_tokens" in told:
        told["total_tokens"] = come + gone
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    cached = _count(details, "cached_tokens")
    if "cached_tokens" not in details:
        cached = _count(usage, "prompt_cache_hit_tokens", "cached_tokens")
    cached = min(cached, come)
    cost = (come - cached) * 1000 + cached * 500 + gone * 4000 + images * 40_000_000
    return told, cost


def _count(document: Document, *names: str) -> int:
    return next((int(document[name] or 0) for name in names if name in document), 0)


def told_error(recording: Recording, status: int, got: Document, asked: Document) -> str:
    """Return what is wrong with the error that the client got; empty if nothing."""
    error, recorded = got["error"], _error(orjson.loads(recording.response.body))
    if not asked:  # refused before it was sent, as the upstream would have done
        sent = orjson.loads(recording.request.body or b"{}")
        same = status == recording.status == 400 and error["param"] in sent
        return "" if same else f"refused by the gateway: {error}"
    if status != ERRORS[recording.status] or error["code"] != status:
        return f"status {status} for {recording.status}: {error}"
    if status != 400:
        return ""
    said = " ".join(str(recorded.get("message") or recorded.get("detail")).split())
    pattern = re.escape(error["message"]).replace(re.escape("[hidden]"), ".+")
    right = re.fullmatch(pattern, said) and error["type"] == "invalid_request"
    return "" if right and error["param"] == recorded.get("param") else f"{error} for {said}"


def _error(document: Document) -> Document:
    error = document.get("error", document)
    return error if isinstance(error, dict) else {"message": error}
