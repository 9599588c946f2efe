"""What a request counts against, and the right to run it."""

from __future__ import annotations

from typing import Protocol

from ezkielyna import Permit, RateLimited, RequestContext, Scope, Standing, Usage
from ezkielyna_redis.counts import Counts, Quota, standing_of
from ezkielyna_redis.scripts import keyed


class Under:
    """The limits of requests with one key to one model, with what of a call is always the same."""

    __slots__ = ("_account", "_key", "_plan", "_whom", "arguments", "ids", "keys", "quotas")

    def __init__(self, ctx: RequestContext, found: list[Scope], quotas: list[Quota]) -> None:
        self._account, self._key, self._plan = ctx.account, ctx.key, ctx.plan
        self._whom = [scope.whom for scope in found]
        self.ids = [scope.id for scope in found]
        self.quotas = quotas
        names = [name for id_ in self.ids for name in Counts(ctx.account.id, id_).names]
        self.keys = keyed(*names)
        self.arguments = b"".join(quota.arguments for quota in quotas)

    def fits(self, ctx: RequestContext) -> bool:
        """True while neither plan nor account nor key have changed."""
        same = ctx.key is self._key and ctx.account is self._account
        return same and ctx.plan is self._plan

    def name(self, limit: int) -> str:
        """Return the limit of this number, 4 * scope + which, for people."""
        scope, which = divmod(limit, 4)
        return f"{self._whom[scope]}: {self.quotas[scope].name(which)}"


class Shares(Protocol):
    """Who takes back what a permit holds."""

    def give_back(self, permit: SharedPermit, used: int) -> None:
        """Free slots and correct the tokens."""


class SharedPermit(Permit):
    """Slots, and tokens charged on an estimate at the time `at`. Closing it again changes nothing.

    `counted` and `quotas` belong together; `keys` are their names, packed. `corrections` were the
    counts' own at the beginning.
    """

    __slots__ = (
        "_shares",
        "at",
        "closed",
        "corrections",
        "counted",
        "id",
        "keys",
        "quotas",
        "standing",
        "tokens",
    )

    def __init__(
        self, shares: Shares, counted: list[Counts], under: Under, tokens: int, id_: bytes
    ) -> None:
        self._shares = shares
        self.counted = counted
        self.quotas = under.quotas
        self.keys = under.keys
        self.corrections = [counts.corrections for counts in counted]
        self.tokens = tokens
        self.id = id_
        self.at = 0
        self.closed = False

    async def close(self, usage: Usage | None) -> None:
        """Return the slots; charge what was used instead of the estimate. Waits for nothing."""
        if not self.closed:
            self.closed = True
            self._shares.give_back(self, usage.total if usage is not None else 0)

    def undo(self, reply: bytes) -> None:
        """Return what a request was granted that had gone when the reply came."""
        granted, now, *_ = reply.split(b" ", 2)
        if not self.closed and granted == b"1":
            self.closed = True
            self.at = int(now)
            self._shares.give_back(self, 0)

    def left(self, now: int) -> Standing:
        """Return what is left under all limits."""
        return standing_of(zip(self.counted, self.quotas, strict=True), now)

    def longest(self, waits: list[tuple[int, int]]) -> tuple[int, int]:
        """Return the longest wait, and 4 * scope + which of the limit that needs it."""
        return max([(wait, 4 * scope + which) for scope, (wait, which) in enumerate(waits)])


def refusal(wait: int, limit: str, standing: Standing) -> RateLimited:
    """Return the error; whole milliseconds, rounded up."""
    retry_after_s = max(1, -(-wait // 1000)) / 1000
    return RateLimited(
        f"Rate limit reached{limit}. Try again in {retry_after_s:g} seconds.",
        retry_after_s=retry_after_s,
        standing=standing,
    )
