"""What there is to count where an upstream sent no usage: texts that went in and came out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from ezkielyna.contract.provider import Delivered
from ezkielyna.contract.requests import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
)

PER_MESSAGE = 3
"""Tokens around a message, and before the answer, in the chat formats that are known."""

PER_MEDIUM = 765
"""An image of 1024 by 1024 pixels costs 765 tokens and more, by vendor; so does a medium here."""


def asked(request: ApiRequest) -> tuple[list[str], int]:
    """Return the texts of a request, and the tokens to add for what is no text."""
    if isinstance(request, ChatRequest):
        return _conversation(request)
    prompts: Any = None
    if isinstance(request, CompletionRequest):
        prompts = request.prompt
    elif isinstance(request, EmbeddingRequest):
        prompts = request.input
    if isinstance(prompts, str):
        return [prompts], 0
    texts = [part for part in prompts or () if isinstance(part, str)]
    return texts, sum(_ids(part) for part in prompts or ())


def said(answer: Mapping[str, Any]) -> Delivered:
    """Return the texts of a plain answer of OpenAI's shape; what is not in it counts nothing."""
    texts: list[str] = []
    reasoning: list[str] = []
    tools: list[str] = []
    for choice in _objects(answer.get("choices")):
        texts += _strings(choice, "text")
        for message in _objects([choice.get("message")]):
            texts += _strings(message, "content", "refusal")
            texts += _strings(message.get("audio"), "transcript")
            reasoning += _strings(message, "reasoning_content", "reasoning")
            tools += _called(message)
    return Delivered("".join(texts), "".join(reasoning), "".join(tools))


def _conversation(request: ChatRequest) -> tuple[list[str], int]:
    texts: list[str] = []
    tokens = PER_MESSAGE
    for message in request.messages:
        tokens += PER_MESSAGE
        texts += _strings(message, "role", "name", "content", "reasoning_content")
        texts += _called(message)
        for part in _objects(message.get("content")):
            words = list(_strings(part, "text", "refusal"))
            texts += words
            tokens += 0 if words else PER_MEDIUM
    described = [request.tools, *map((request.model_extra or {}).get, _DESCRIBED)]
    texts += [orjson.dumps(one).decode() for one in described if one]
    return texts, tokens


_DESCRIBED = ("functions", "response_format")
"""Fields beside `tools` that are written out for the model."""


def _called(message: Mapping[str, Any]) -> list[str]:
    """Return the names and arguments of a message's calls of tools."""
    calls = [*_objects(message.get("tool_calls")), {"function": message.get("function_call")}]
    return [
        text
        for call in calls
        for function in (call.get("function"), call.get("custom"))
        for text in _strings(function, "name", "arguments", "input")
    ]


def _strings(document: Any, *names: str) -> Iterator[str]:
    if isinstance(document, Mapping):
        for name in names:
            if isinstance(text := document.get(name), str):
                yield text


def _objects(value: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _ids(part: Any) -> int:
    """Return how many tokens a part of a prompt is that was given as such."""
    if isinstance(part, list):
        return len(part)
    return 0 if isinstance(part, str) else 1
