"""Usage: Gemini's `usageMetadata` as disjoint buckets, and as OpenAI's object."""

from __future__ import annotations

from typing import Any

from ezkielyna import Exchange, Usage, chat_usage, usd_json
from ezkielyna_gemini.fields import count, objects


def usage_of(metadata: dict[str, Any], images: int = 0) -> Usage:
    """Return the buckets. Cached tokens are inside of `promptTokenCount`, thoughts are not inside
    of `candidatesTokenCount`; what built-in tools read counts as input.
    """
    prompt = count(metadata.get("promptTokenCount"))
    cached = min(prompt, count(metadata.get("cachedContentTokenCount")))
    heard = _audio(metadata, "promptTokensDetails") - _audio(metadata, "cacheTokensDetails")
    audio_in = min(prompt - cached, max(0, heard))
    output = count(metadata.get("candidatesTokenCount"))
    audio_out = min(output, _audio(metadata, "candidatesTokensDetails"))
    return Usage(
        input=prompt - cached - audio_in + count(metadata.get("toolUsePromptTokenCount")),
        cached_input=cached,
        audio_in=audio_in,
        output=output - audio_out,
        audio_out=audio_out,
        reasoning=count(metadata.get("thoughtsTokenCount")),
        images=images,
    )


def shown(exchange: Exchange) -> dict[str, Any]:
    """Return what a chat's client sees as `usage`, with `cost` where a price is known."""
    document = chat_usage(exchange.usage or Usage())
    priced(exchange, document)
    return document


def priced(exchange: Exchange, document: dict[str, Any]) -> None:
    """Write the exact `cost` into a usage object, where usage and price are known."""
    if exchange.usage is not None and exchange.price is not None:
        document["cost"] = usd_json(exchange.price(exchange.usage))


def _audio(metadata: dict[str, Any], name: str) -> int:
    details = objects(metadata.get(name))
    return sum(count(item.get("tokenCount")) for item in details if item.get("modality") == "AUDIO")
