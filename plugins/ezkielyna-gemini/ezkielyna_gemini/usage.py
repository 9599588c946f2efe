"""Usage: Gemini's `usageMetadata` as disjoint buckets."""

from __future__ import annotations

from ezkielyna import Usage
from ezkielyna.dialect import Json, count, objects


def usage_of(metadata: Json, images: int = 0) -> Usage:
    """Return the buckets. Cached tokens are inside of `promptTokenCount`, thoughts are not inside
    of `candidatesTokenCount`; what built-in tools read counts as input.
    """
    prompt = count(metadata.get("promptTokenCount"))
    cached = min(prompt, count(metadata.get("cachedContentTokenCount")))
    heard, known = (spent(metadata, f"{of}TokensDetails", "AUDIO") for of in ("prompt", "cache"))
    audio_in = min(prompt - cached, max(0, heard - known))
    output = count(metadata.get("candidatesTokenCount"))
    audio_out = min(output, spent(metadata, "candidatesTokensDetails", "AUDIO"))
    return Usage(
        input=prompt - cached - audio_in + count(metadata.get("toolUsePromptTokenCount")),
        cached_input=cached,
        audio_in=audio_in,
        output=output - audio_out,
        audio_out=audio_out,
        reasoning=count(metadata.get("thoughtsTokenCount")),
        images=images,
    )


def spent(metadata: Json, name: str, modality: str) -> int:
    """Return the tokens of one modality in a list of details."""
    details = objects(metadata.get(name))
    return sum(count(one.get("tokenCount")) for one in details if one.get("modality") == modality)
