"""What an answer says, in no dialect: to compare a recording with what the official SDK has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from openai import AsyncStream
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk


@dataclass
class Said:
    """One answer. Choices are by index; calls are names and arguments, parsed where they are JSON.

    `tokens` are those of OpenAI's usage, by name; empty where the upstream reported none.
    """

    texts: dict[int, str] = field(default_factory=dict)
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: dict[int, str] = field(default_factory=dict)
    refused: bool = False
    model: str = ""
    tokens: dict[str, int] = field(default_factory=dict)

    def differs(self, other: Said) -> str:
        """Return what the other says differently; empty for nothing."""
        return "; ".join(
            f"{name}: {mine!r:.300} is not {theirs!r:.300}"
            for name, mine in vars(self).items()
            if (theirs := getattr(other, name)) != mine
        )


def parsed(arguments: str) -> Any:
    """Return arguments as JSON; as they are where an answer was cut in their midst."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def tokens_of(
    prompt: int, completion: int, cached: int = 0, written: int = 0, reasoning: int = 0
) -> dict[str, int]:
    """Return the counts that matter, zeros left out."""
    counts = {"prompt": prompt, "completion": completion, "total": prompt + completion}
    counts |= {"cached": cached, "written": written, "reasoning": reasoning}
    return {name: count for name, count in counts.items() if count}


def of_completion(answer: ChatCompletion) -> Said:
    """Return what a plain answer says; every call must have an id of its own."""
    said = Said(model=answer.model, tokens=_tokens(answer.usage))
    ids = []
    for choice in answer.choices:
        message: Any = choice.message
        said.texts[choice.index] = message.content or ""
        said.finish[choice.index] = choice.finish_reason
        said.refused = said.refused or bool(message.refusal)
        said.reasoning += (message.model_extra or {}).get("reasoning_content") or ""
        for call in message.tool_calls or []:
            ids.append(call.id)
            said.calls.append((call.function.name, parsed(call.function.arguments)))
    assert len(set(ids)) == len(ids), "ids of calls are not their own"
    assert all(ids)
    return said


async def of_stream(stream: AsyncStream[ChatCompletionChunk]) -> Said:
    """Return what a stream with its usage says; asserts the grammar of OpenAI's streams."""
    said = Said()
    heads: set[tuple[str, int, str, str]] = set()
    calls: dict[tuple[int, int], list[str]] = {}
    ids: list[str] = []
    usage: CompletionUsage | None = None
    async for chunk in stream:
        assert usage is None, "a chunk after the usage"
        heads.add((chunk.id, chunk.created, chunk.model, chunk.object))
        usage = chunk.usage
        assert (usage is not None) == (not chunk.choices), "the usage is not alone"
        for choice in chunk.choices:
            index, delta = choice.index, choice.delta
            assert index not in said.finish, "a chunk after the finish"
            assert (delta.role is not None) == (index not in said.texts), "one role a choice, first"
            said.texts[index] = said.texts.get(index, "") + (delta.content or "")
            said.reasoning += (delta.model_extra or {}).get("reasoning_content") or ""
            said.refused = said.refused or bool(delta.refusal)
            for call in delta.tool_calls or []:
                assert call.function is not None
                known = calls.get((index, call.index))
                if known is None:
                    assert call.index == sum(at == index for at, _ in calls), "a gap in the indexes"
                    assert call.id, "a call without an id"
                    ids.append(call.id)
                    known = calls[index, call.index] = [call.function.name or "", ""]
                else:
                    assert call.id is None, "an id in the midst of a call"
                known[1] += call.function.arguments or ""
            if choice.finish_reason is not None:
                said.finish[index] = choice.finish_reason
                assert not delta.content, "a finish that says something"
                assert not delta.tool_calls, "a finish that calls something"
    assert len(heads) == 1, "chunks of several answers"
    assert said.finish.keys() == said.texts.keys(), "a choice without a finish"
    assert len(set(ids)) == len(ids), "ids of calls are not their own"
    said.calls = [(name, parsed(arguments)) for name, arguments in calls.values()]
    said.model, said.tokens = heads.pop()[2], _tokens(usage)
    return said


def _tokens(usage: CompletionUsage | None) -> dict[str, int]:
    if usage is None:
        return {}
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    come: Any = usage.prompt_tokens_details
    gone: Any = usage.completion_tokens_details
    found = tokens_of(
        usage.prompt_tokens,
        usage.completion_tokens,
        cached=getattr(come, "cached_tokens", 0) or 0,
        written=getattr(come, "cache_write_tokens", 0) or 0,
        reasoning=getattr(gone, "reasoning_tokens", 0) or 0,
    )
    if found:
        assert round((usage.model_extra or {})["cost"] * 1e9) == cost_of(found), "a wrong cost"
    return found


def cost_of(tokens: dict[str, int]) -> int:
    """Return what tokens cost in nano-dollars at the rates of `RATES`."""
    cached, written = tokens.get("cached", 0), tokens.get("written", 0)
    fresh = tokens.get("prompt", 0) - cached - written
    return fresh * 1000 + cached * 500 + written * 1250 + tokens.get("completion", 0) * 4000


RATES = {"input": "1", "cached_input": "0.5", "cache_write": "1.25", "output": "4"}
"""Prices for models under test, USD per million tokens: no two of them are alike."""
