"""What a run does, as plain values: they travel to the processes that send, and into the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Endpoint = Literal["chat/completions", "completions", "embeddings"]
Way = Literal["closed", "open"]
Arrivals = Literal["poisson", "constant"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and what they ask. `url` precedes the endpoint's path."""

    url: str
    model: str
    endpoint: Endpoint = "chat/completions"
    streamed: bool = True
    usage: bool = True
    """Ask a stream for its usage, so that tokens are the server's count."""
    input_tokens: str = "64"
    output_tokens: str = "64"
    prompts: tuple[str, ...] = ()
    """Texts to ask in turn, instead of made-up ones."""
    fields: Mapping[str, object] = field(default_factory=dict)
    """Laid over every body."""
    timeout_s: float = 120.0
    ca_file: str = ""
    verify: bool = True
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """One step of a run. `amount` is requests at once (closed) or requests a second (open).

    Ramp and warm-up come before the window, in which things count. The window lasts `duration_s`,
    or, with `requests` above 0, until so many requests have been sent and answered.
    """

    way: Way
    amount: float
    duration_s: float = 10.0
    requests: int = 0
    warm_up_s: float = 1.0
    ramp_s: float = 0.0
    arrivals: Arrivals = "poisson"
    max_open: int = 10_000
    """More requests than this are never open at once; what a rate would add to them is an error."""

    @property
    def before_s(self) -> float:
        """The time from the first request to the window."""
        return self.ramp_s + self.warm_up_s

    def share(self, index: int, of: int) -> Load:
        """Return the part of one of several processes; parts add up to the whole."""
        amount = self.amount / of
        if self.way == "closed":
            amount = int(self.amount) // of + (index < int(self.amount) % of)
        requests = self.requests // of + (index < self.requests % of)
        return Load(
            self.way,
            amount,
            self.duration_s,
            requests,
            self.warm_up_s,
            self.ramp_s,
            self.arrivals,
            max(1, self.max_open // of),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request must meet to count as good, in seconds; 0 asks nothing."""

    first_byte: float = 0.0
    first_token: float = 0.0
    gap: float = 0.0
    """The longest pause between two reads of a stream."""
    token: float = 0.0
    """The mean time from one output token to the next."""
    total: float = 0.0

    @property
    def stated(self) -> dict[str, float]:
        """The limits that ask something, in seconds."""
        return {name: limit for name in self.__slots__ if (limit := getattr(self, name))}
