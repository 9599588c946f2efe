from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from ezkielyna import Exchange, GatewayError, Usage
from ezkielyna.contract.requests import REQUESTS
from ezkielyna.testing.asking import fed
from ezkielyna_openai import OpenAIProvider

PRICE = 1_000_003
"""Nano-dollars, whatever was used: a cost that no upstream would state by chance."""


@dataclass
class Seen:
    """What a client has after it read a whole stream."""

    text: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, str] = field(default_factory=dict)
    calls: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    roles: dict[int, int] = field(default_factory=dict)
    usages: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0


def read_stream(stream: bytes) -> Seen:
    """Read a stream as strictly as a simple client would: `data: ` lines and blank lines."""
    seen = Seen()
    assert stream == b"" or stream.endswith(b"\n\n")
    for event in stream.split(b"\n\n")[:-1]:
        assert event.startswith(b"data: "), event
        assert b"\n" not in event
        assert b"\r" not in event
        assert not seen.done, "an event after [DONE]"
        if event == b"data: [DONE]":
            seen.done += 1
            continue
        chunk = orjson.loads(event[6:])
        seen.chunks.append(chunk)
        if chunk.get("usage") is not None:
            seen.usages.append(chunk["usage"])
        for choice in chunk.get("choices") or []:
            _add(seen, choice)
    return seen


def _add(seen: Seen, choice: dict[str, Any]) -> None:
    index = choice.get("index", 0)
    delta = choice.get("delta") or {"content": choice.get("text")}
    if delta.get("content"):
        seen.text[index] = seen.text.get(index, "") + delta["content"]
    if delta.get("reasoning_content"):
        seen.reasoning[index] = seen.reasoning.get(index, "") + delta["reasoning_content"]
    if "role" in delta:
        seen.roles[index] = seen.roles.get(index, 0) + 1
    for call in delta.get("tool_calls") or []:
        known = seen.calls.setdefault((index, call["index"]), {"id": "", "name": "", "args": ""})
        known["id"] = call.get("id") or known["id"]
        known["name"] = call["function"].get("name") or known["name"]
        known["args"] += call["function"].get("arguments") or ""
    if choice.get("finish_reason"):
        seen.finish[index] = choice["finish_reason"]


def make_exchange(
    body: dict[str, Any] | bytes | None = None,
    *,
    endpoint: str = "chat.completions",
    model: str | None = None,
    price: Callable[[Usage], int] | None = lambda usage: PRICE,
    cap: int | None = None,
    **settings: Any,
) -> Exchange:
    """Return an exchange of the provider with these settings for a request with this body."""
    defaults: dict[str, dict[str, Any]] = {
        "chat.completions": {"messages": [{"role": "user", "content": "hi"}]},
        "completions": {"prompt": "hi"},
        "embeddings": {"input": "hi"},
        "images.generations": {"prompt": "hi"},
    }
    if not isinstance(body, bytes):
        body = orjson.dumps({"model": "m", **defaults[endpoint], **(body or {})})
    request = REQUESTS[endpoint].parse(body)  # type: ignore[index]
    if cap is not None:
        request.cap_output(cap)
    provider = OpenAIProvider("lab", OpenAIProvider.Settings.model_validate(settings))
    exchange = provider.exchange(request, model or request.model)
    exchange.price = price
    return exchange


@pytest.fixture(scope="session")
def make() -> Callable[..., Exchange]:
    return make_exchange


@pytest.fixture(scope="session")
def run() -> Callable[..., tuple[bytes, GatewayError | None]]:
    return fed


@pytest.fixture(scope="session")
def read() -> Callable[[bytes], Seen]:
    return read_stream
