"""Rate limiter: says whether a request may run now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

from ezkielyna.contract.context import Account, Key, Plan, RequestContext
from ezkielyna.contract.durations import duration
from ezkielyna.contract.usage import Usage

NO_LIMIT = 2**31 - 1
"""What the headers say where there is no limit: every answer has them, and this many are left."""


class Standing(NamedTuple):
    """What is left of the limits after a request was counted; None where there is no limit.

    `reset_…_s` is the time until the limit is whole again, in seconds.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float = 0.0
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float = 0.0

    def tightest(self, other: Standing) -> Standing:
        """Return what is left under both: of each kind the limit that leaves less."""
        mine, theirs = self.remaining_requests, other.remaining_requests
        requests = other if mine is None or (theirs is not None and theirs < mine) else self
        mine, theirs = self.remaining_tokens, other.remaining_tokens
        tokens = other if mine is None or (theirs is not None and theirs < mine) else self
        return requests if requests is tokens else Standing(*requests[:3], *tokens[3:])

    def lines(self) -> str:
        """Return OpenAI's six rate headers as lines of an answer's head."""
        requests, requests_left, requests_s, tokens, tokens_left, tokens_s = self
        if requests is None:
            requests = requests_left = NO_LIMIT
        if tokens is None:
            tokens = tokens_left = NO_LIMIT
        return (
            f"x-ratelimit-limit-requests: {requests}\r\n"
            f"x-ratelimit-remaining-requests: {requests_left}\r\n"
            f"x-ratelimit-reset-requests: {duration(requests_s)}\r\n"
            f"x-ratelimit-limit-tokens: {tokens}\r\n"
            f"x-ratelimit-remaining-tokens: {tokens_left}\r\n"
            f"x-ratelimit-reset-tokens: {duration(tokens_s)}\r\n"
        )

    def headers(self) -> list[tuple[str, str]]:
        """Return them by name and value."""
        pairs = (line.partition(": ") for line in self.lines().splitlines())
        return [(name, value) for name, _, value in pairs]


class Permit(ABC):
    """The right to run one request. Closed exactly once, however the request ends."""

    standing: Standing

    @abstractmethod
    async def close(self, usage: Usage | None) -> None:
        """Return the slot and correct the tokens; `usage` is None when nothing was consumed."""


class RateLimiter(ABC):
    """Counts requests and tokens by account, key and model: by each of the request's `scopes`."""

    kind: ClassVar[str]
    """The word that `[plans.NAME] limiter = …` selects."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @classmethod
    def build(cls, workers: int, redis_url: str) -> Self:
        """Return the limiter of a process; write it to have `[redis] url`, "" where none is set.

        Raises ValueError for a configuration that cannot serve; `check` shows it.
        """
        return cls(workers)

    async def start(self) -> None:  # noqa: B027 - not every limiter has something to start
        """Get ready; awaited before the process accepts connections."""

    async def close(self) -> None:  # noqa: B027 - nor to close
        """Let go of everything; awaited after the last permit was closed."""

    @property
    def degradation(self) -> str | None:
        """Say why limits hold less exactly than they should; None while they hold."""
        return None

    @abstractmethod
    async def admit(self, ctx: RequestContext) -> Permit:
        """Return a permit; all limits of the request are granted or none.

        Raises RateLimited with the time after which the retry passes.
        """

    @abstractmethod
    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left of the limits by what is known locally; counts nothing."""
