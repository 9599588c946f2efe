"""Who fails again and again waits longer and longer: sign-ins, sign-ups, bad API keys.

Pure arithmetic on an injected clock, in this process only, in bounded memory. With several
processes each counts for itself, so a stranger has at most so many times the patience.

```python
sign_ins = Attempts(SIGN_INS)

attempt = sign_ins.begin(address, account.email)    # raises RateLimited
if await matches(password, account.password_hash):
    attempt.succeeded()
```

An attempt counts as failed from its beginning, so that a thousand at the same time find no gap. A
sign-up, or a mail that somebody asks for, never succeeds in this sense: each one costs us money.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ezkielyna.contract.errors import RateLimited

FIRST_S = 1.0
"""The first wait; each attempt too many doubles it."""

LONGEST_S = 900.0
"""No wait is longer."""

MOST_SUBJECTS = 20_000
"""Subjects remembered at most; beyond it the one that was idle for longest is forgotten."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """`free` attempts cost nothing, and one is forgiven every `forgiven_s` seconds.

    So a subject that never stops has `free` attempts and one every `forgiven_s`, about.
    """

    free: int
    forgiven_s: float


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient a kind of attempt is with a client's address, and with an account's name."""

    address: Patience
    account: Patience


SIGN_INS = Rules(address=Patience(20, 30.0), account=Patience(5, 60.0))
SIGN_UPS = Rules(address=Patience(5, 600.0), account=Patience(3, 600.0))
BAD_KEYS = Patience(20, 10.0)
BAD_CODES = Patience(5, 60.0)
"""Voucher codes that an account types in vain."""


class Recent(Generic[T]):
    """The last so many subjects by their time of use."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, subject: str) -> T | None:
        """Return what is remembered of a subject."""
        return self._values.get(subject)

    def put(self, subject: str, value: T) -> None:
        """Remember a subject as the one that was used last."""
        self._values[subject] = value
        self._values.move_to_end(subject)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def drop(self, subject: str) -> None:
        """Forget a subject."""
        self._values.pop(subject, None)


@dataclass(slots=True)
class _Seen:
    """`weight` attempts at the time `at`, of which some are forgiven since; none before `until`."""

    weight: float
    at: float
    until: float


class Throttle:
    """Growing delays for subjects of one kind. Times are seconds."""

    def __init__(
        self,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST_SUBJECTS,
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._subjects: Recent[_Seen] = Recent(most)

    def wait_s(self, subject: str) -> float:
        """Return the time until this subject may try again; 0 for now."""
        seen = self._subjects.get(subject)
        return 0.0 if seen is None else max(0.0, seen.until - self._clock())

    def count(self, subject: str) -> None:
        """Count an attempt; it sets the wait for the next one."""
        now = self._clock()
        seen = self._subjects.get(subject)
        weight = 1.0 if seen is None else self._left(seen, now) + 1
        too_many = weight - self._patience.free
        until = (
            now + min(LONGEST_S, FIRST_S * 2 ** min(too_many - 1, 20.0)) if too_many > 0 else now
        )
        self._subjects.put(subject, _Seen(weight, now, until))

    def take_back(self, subject: str) -> None:
        """Undo one attempt and its wait: it was a good one."""
        seen = self._subjects.get(subject)
        if seen is not None:
            now = self._clock()
            self._subjects.put(subject, _Seen(max(0.0, self._left(seen, now) - 1), now, now))

    def forget(self, subject: str) -> None:
        """Forget all attempts of this subject."""
        self._subjects.drop(subject)

    def _left(self, seen: _Seen, now: float) -> float:
        return max(0.0, seen.weight - (now - seen.at) / self._patience.forgiven_s)


class Attempts:
    """Attempts of one kind, counted by client address and by account.

    Where an account was signed in from lately, the guesses of others elsewhere do not lock it out:
    it then counts apart.
    """

    def __init__(
        self,
        rules: Rules,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST_SUBJECTS,
    ) -> None:
        self._addresses = Throttle(rules.address, clock, most)
        self._accounts = Throttle(rules.account, clock, most)
        self._known: Recent[bool] = Recent(most)

    def begin(self, address: str, account: str = "") -> Attempt:
        """Count an attempt as failed; raises RateLimited, and counts nothing, who has to wait.

        `account` is the name that was given, whether or not there is such an account: both are
        told the same.
        """
        place = network(address)
        name = account.strip().lower()
        pair = f"{place} {name}"
        if self._known.get(pair):
            name = pair
        wait_s = max(self._addresses.wait_s(place), self._accounts.wait_s(name) if name else 0.0)
        if wait_s:
            raise too_many(wait_s)
        self._addresses.count(place)
        if name:
            self._accounts.count(name)
        return Attempt(self, place, name, pair)

    def succeeded(self, attempt: Attempt) -> None:
        """Forget the account's failures; the address's own stay, or a good one would hide bad."""
        self._addresses.take_back(attempt.place)
        if attempt.name:
            self._accounts.forget(attempt.name)
            self._known.put(attempt.pair, True)


class Attempt:
    """One attempt under way, counted as failed until it says otherwise."""

    __slots__ = ("_attempts", "_done", "name", "pair", "place")

    def __init__(self, attempts: Attempts, place: str, name: str, pair: str) -> None:
        self._attempts = attempts
        self._done = False
        self.place = place
        self.name = name
        self.pair = pair

    def succeeded(self) -> None:
        """Say that it was a good one; saying so again changes nothing."""
        if not self._done:
            self._done = True
            self._attempts.succeeded(self)


def too_many(wait_s: float) -> RateLimited:
    """Return the error for who has to wait; whole seconds, rounded up, and the same to everyone."""
    seconds = int(-(-wait_s // 1))
    return RateLimited(
        f"Too many failed attempts. Try again in {seconds} second{'s' if seconds > 1 else ''}.",
        retry_after_s=float(seconds),
    )


def network(address: str) -> str:
    """Return what of an address counts as one client: an IPv4 address, or an IPv6 /64.

    A customer of an internet provider has at least a /64 (RFC 6177), to change at will.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped or ipaddress.ip_network((int(parsed), 64), strict=False))
