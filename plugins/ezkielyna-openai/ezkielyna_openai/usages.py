"""Usage as servers report it, normalised into disjoint buckets, and shown with its cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ezkielyna import Nano, Usage, usd, usd_json
from ezkielyna_openai.documents import dumps, value_span, with_value

PRIVATE = frozenset(
    ("cost", "cost_details", "cost_in_usd_ticks", "estimated_cost", "is_byok", "total_cost")
)
"""What the operator pays an upstream is the operator's business."""

_INPUT_DETAILS = "prompt_tokens_details"
_OUTPUT_DETAILS = "completion_tokens_details"

PLAIN = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", _INPUT_DETAILS, _OUTPUT_DETAILS)
)
"""Beside these nothing counts parts of the totals."""

Document = dict[str, Any]
Pricing = Callable[[Usage], Nano] | None


def usage_in(document: Any) -> dict[str, Any] | None:
    """Return the usage that a chunk or an answer carries, wherever a server puts it."""
    if not isinstance(document, dict):
        return None
    usage = document.get("usage")
    if isinstance(usage, dict) and usage:
        return usage
    groq = document.get("x_groq")
    usage = groq.get("usage") if isinstance(groq, dict) else None
    return usage if isinstance(usage, dict) and usage else None


def tokens_used(usage: Document) -> Usage | None:
    """Return the buckets of a chat, completion or embedding; None where nothing is countable.

    Part counts are bounded by their totals, so that the sum of all buckets is always what the
    upstream states as prompt and completion.
    """
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None and completion is None:
        return None
    if prompt is not None and usage.keys() <= PLAIN and not _in_parts(usage):
        return Usage(input=prompt, output=completion or 0)
    ins, outs = _details(usage, _INPUT_DETAILS), _details(usage, _OUTPUT_DETAILS)
    prompt, completion = prompt or 0, completed(usage, outs)
    cached = _count(ins, "cached_tokens")
    if cached is None:
        cached = _count(usage, "prompt_cache_hit_tokens", _count(usage, "cached_tokens", 0))
    cached = min(cached or 0, prompt)
    written, audio_in = _counts(ins, "cache_write_tokens", "audio_tokens")
    written = min(written, prompt - cached)
    audio_in = min(audio_in, prompt - cached - written)
    reasoning, audio_out = _counts(outs, "reasoning_tokens", "audio_tokens")
    reasoning = min(reasoning, completion)
    audio_out = min(audio_out, completion - reasoning)
    return Usage(
        input=prompt - cached - written - audio_in,
        cached_input=cached,
        cache_write=written,
        output=completion - reasoning - audio_out,
        reasoning=reasoning,
        audio_in=audio_in,
        audio_out=audio_out,
    )


def _in_parts(usage: Document) -> bool:
    """True where the details say more than that there is nothing to tell, which most say."""
    ins, outs = usage.get(_INPUT_DETAILS), usage.get(_OUTPUT_DETAILS)
    if isinstance(ins, dict) and any(ins.values()):
        return True
    return isinstance(outs, dict) and any(outs.values())


def completed(usage: Document, details: Document) -> int:
    """Return the completion tokens, with reasoning in them.

    Servers that count reasoning beside the completion give themselves away: their total is the
    sum of all three.
    """
    completion = _count(usage, "completion_tokens", 0) or 0
    reasoning = _count(details, "reasoning_tokens", 0) if details else 0
    if not reasoning:
        return completion
    prompt = _count(usage, "prompt_tokens", 0) or 0
    beside = _count(usage, "total_tokens") == prompt + completion + reasoning
    return completion + reasoning if beside else completion


def images_made(usage: Document | None, pieces: int) -> Usage:
    """Return the buckets of images: the pieces, and tokens where the upstream counts them."""
    if usage is None or _count(usage, "input_tokens") is None:
        return Usage(images=pieces, source="counted")
    prompt = _count(usage, "input_tokens", 0) or 0
    details = usage.get("input_tokens_details")
    cached = _count(details, "cached_tokens", 0) if isinstance(details, dict) else 0
    cached = min(cached or 0, prompt)
    return Usage(
        input=prompt - cached,
        cached_input=cached,
        output=_count(usage, "output_tokens", 0) or 0,
        images=pieces,
    )


def added(first: Usage, second: Usage) -> Usage:
    """Return the buckets of two answers together."""
    sums = {bucket: n + getattr(second, bucket) for bucket, n in first.quantities()}
    return Usage(**sums, source=second.source)


def shown(usage: Document, counted: Usage | None, price: Pricing) -> bytes:
    """Return the `usage` object for the client: the upstream's numbers, our cost.

    Keeps OpenAI's invariants: the completion includes reasoning, the total is the sum.
    """
    document = {name: value for name, value in usage.items() if name not in PRIVATE}
    if counted is not None and "prompt_tokens" in usage:
        if completed(usage, _details(usage, _OUTPUT_DETAILS)) != usage.get("completion_tokens", 0):
            document["completion_tokens"] = counted.output_total
        if "completion_tokens" in document or counted.output_total:
            document.setdefault("completion_tokens", counted.output_total)
        document["total_tokens"] = counted.total
    if counted is not None and price is not None:
        document["cost"] = usd_json(price(counted))
    return dumps(document)


def with_cost(body: bytes, document: Document, counted: Usage, price: Pricing) -> bytes:
    """Return an answer with the cost at the end of its usage, every other byte as it was.

    Where the numbers themselves must change, the usage is written anew.
    """
    usage = document.get("usage")
    if price is not None and usage and _as_counted(usage, counted):
        end = _end_of_usage(body, document)
        if end:
            cost = usd(price(counted), 0).encode()
            return b'%b,"cost":%b%b' % (body[:end], cost, body[end:])
    return with_value(body, "usage", shown(usage_in(document) or {}, counted, price), document)


def _end_of_usage(body: bytes, document: Document) -> int:
    """Return where the object of the member `usage` is closed; 0 where that is not certain."""
    if next(reversed(document)) == "usage":  # the last member, as it mostly is
        return body.rfind(b"}", 0, body.rfind(b"}"))
    span = value_span(body, "usage", document)
    return 0 if span is None else span[1] - 1


def _as_counted(usage: Document, counted: Usage) -> bool:
    """True when the upstream's numbers keep OpenAI's invariants and nothing private is there."""
    tokens_in, tokens_out = counted.totals()
    return (
        usage.get("total_tokens") == tokens_in + tokens_out
        and usage.get("completion_tokens") == tokens_out
        and PRIVATE.isdisjoint(usage)
    )


def images_shown(counted: Usage, price: Pricing) -> bytes:
    """Return the `usage` object for images whose upstream sent none."""
    parts = {"text_tokens": 0, "image_tokens": 0}
    none = {"input_tokens": 0, "input_tokens_details": parts, "output_tokens": 0, "total_tokens": 0}
    return shown(none, counted, price)


def _details(usage: Document, name: str) -> Document:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def _counts(details: Document, first: str, second: str) -> tuple[int, int]:
    """Return two numbers of tokens, 0 for what is none; nearly always both are."""
    if not (details.get(first) or details.get(second)):
        return 0, 0
    return _count(details, first, 0) or 0, _count(details, second, 0) or 0


def _count(document: Document, name: str, default: int | None = None) -> int | None:
    """Return a number of tokens; the default for what is none."""
    value = document.get(name)
    return value if type(value) is int and value >= 0 else default
