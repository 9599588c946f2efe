"""Usage: what a request consumed, in buckets that never overlap."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

Bucket = Literal[
    "input",
    "cached_input",
    "cache_write",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "images",
]
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)

_WHOLE_NUMBERS = {int}

Source = Literal["upstream", "counted", "estimated"]
"""Where the numbers come from: the upstream said so, we counted the delivered text, or we
estimated from sizes."""


class Usage(NamedTuple):
    """Disjoint buckets of tokens, and pieces for `images`; every number is zero or more.

    `input` excludes what was read from or written to a cache and audio; `output` excludes
    reasoning and audio. Adapters normalise the upstream's overlapping numbers at the edge.
    """

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    images: int = 0
    source: Source = "upstream"

    @property
    def numbers(self) -> tuple[int, ...]:
        """The quantities alone, in the order of `BUCKETS`."""
        return self[:8]

    def quantities(self) -> list[tuple[Bucket, int]]:
        """Return every bucket with its quantity, zeros included, in the order of `BUCKETS`."""
        return list(zip(BUCKETS, self.numbers, strict=True))

    @property
    def input_total(self) -> int:
        """All tokens that went in, as OpenAI's `prompt_tokens` counts them."""
        return self.totals()[0]

    @property
    def output_total(self) -> int:
        """All tokens that came out, as OpenAI's `completion_tokens` counts them."""
        return self.totals()[1]

    def totals(self) -> tuple[int, int]:
        """Return `input_total` and `output_total`; where both are asked, it takes half as long."""
        into, cached, written, out, reasoning, audio_in, audio_out, _, _ = self
        return into + cached + written + audio_in, out + reasoning + audio_out

    @property
    def total(self) -> int:
        """Input and output together."""
        # By every request, from its limiter: a slice and its sum take half as long again.
        one, two, three, four, five, six, seven, _, _ = self
        return one + two + three + four + five + six + seven

    @property
    def plausible(self) -> bool:
        """False when a bucket is negative or not a whole number."""
        numbers = self[:8]
        return set(map(type, numbers)) == _WHOLE_NUMBERS and min(numbers) >= 0


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Return OpenAI's overlapping `usage` object for chat and legacy completions.

    Keeps OpenAI's three invariants: the total is the sum, cached tokens are part of the prompt,
    reasoning tokens are part of the completion.
    """
    document: dict[str, Any] = {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input,
            "audio_tokens": usage.audio_in,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_out,
        },
    }
    if usage.cache_write:
        document["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    return document
