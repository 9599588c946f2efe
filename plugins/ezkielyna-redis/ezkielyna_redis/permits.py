"""What a request counts against, and the right to run it."""

from __future__ import annotations

from struct import Struct
from typing import Protocol, TypeAlias

from ezkielyna import Permit, RateLimited, RequestContext, Scope, Standing, Usage
from ezkielyna_redis.counts import Counts, Quota, standing_of
from ezkielyna_redis.scripts import ADMIT, CORRECT, SERVER_TIME, Prepared, keyed, packed

Counted: TypeAlias = "list[tuple[Counts, Quota]]"


class Under:
    """The limits of requests with one key to one model, with what of a call is always the same.

    `counted` holds while the limiter has forgotten no counts since `found`.
    """

    __slots__ = (
        "_whom",
        "account",
        "admit",
        "correct",
        "counted",
        "found",
        "key",
        "plan",
        "reply",
        "scopes",
        "slots",
        "tokens",
    )

    def __init__(self, ctx: RequestContext, found: list[tuple[Scope, Quota]], hold: bytes) -> None:
        self.account, self.key, self.plan = ctx.account, ctx.key, ctx.plan
        self.scopes = [(scope.id, quota) for scope, quota in found]
        self.counted: Counted = []
        self.found = -1
        self._whom = [scope.whom for scope, _ in found]
        quotas = [quota for _, quota in found]
        self.slots = any(quota.slots for quota in quotas)
        self.tokens = any(quota.windows for quota in quotas)
        names = [name for id_, _ in self.scopes for name in Counts(ctx.account.id, id_).names]
        keys = keyed(*names) + SERVER_TIME
        limits = b"".join([quota.arguments for quota in quotas])
        self.admit = Prepared(ADMIT, keys + hold + limits, 4 + 7 * len(found))
        windows = packed(*(b"%d" % quota.windows for quota in quotas))
        self.correct = Prepared(CORRECT, keys + windows, 4 + 3 * len(found))
        self.reply = Struct(f"<{4 + 6 * len(found)}q")

    def name(self, limit: int) -> str:
        """Return the limit of this number, 4 * scope + which, for people."""
        scope, which = divmod(limit, 4)
        return f"{self._whom[scope]}: {self.scopes[scope][1].name(which)}"


class Shares(Protocol):
    """Who takes back what a permit holds."""

    def give_back(self, permit: SharedPermit, used: int) -> None:
        """Free slots and correct the tokens."""


class SharedPermit(Permit):
    """Slots, and tokens charged on an estimate at the time `at`. Closing it again changes nothing.

    `number` is its own among all of a process, and `id`, packed, among those of all.
    """

    __slots__ = (
        "_shares",
        "at",
        "closed",
        "counted",
        "id",
        "number",
        "standing",
        "tokens",
        "under",
    )

    def __init__(self, shares: Shares, under: Under, tokens: int, number: int, id_: bytes) -> None:
        self._shares = shares
        self.under = under
        self.counted = under.counted
        self.tokens = tokens
        self.number = number
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
        granted, now, *_ = self.under.reply.unpack(reply)
        if granted and not self.closed:
            self.closed = True
            self.at = now
            self._shares.give_back(self, 0)

    def left(self, now: int) -> Standing:
        """Return what is left under all limits."""
        return standing_of(self.counted, now)

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
