"""Money: whole nano-dollars, prices as integers, one rounding, up.

A `Nano` is 1e-9 USD in a Python int. A rate is nano-dollars per million tokens (per piece for
images), so the cost of `n` tokens is `n * rate / 1_000_000` nano. The parts of a bill are added
exactly and rounded once, up. No float is ever involved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import orjson

from ezkielyna.contract.usage import BUCKETS, Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ezkielyna.contract.usage import Usage

Nano = int

NANOS_PER_USD = 1_000_000_000
TOKENS_PER_RATE = 1_000_000
MAX_NANO = 2**63 - 1
"""What a BSON Int64 holds: about 9.2 billion USD."""


class MoneyError(ValueError):
    """An amount that is not a number, not exact in nano-dollars, or out of range."""


def nano(usd: Decimal | str | int) -> Nano:
    """Return an amount of USD in nano-dollars, exactly.

    Raises MoneyError for more than nine decimals, for what is no finite number, and for amounts
    beyond an Int64. Floats are refused by type: they have lost the amount already.
    """
    if isinstance(usd, float):
        raise MoneyError(f"{usd!r} is a float; write the amount as a string or a decimal")
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        raise MoneyError(f"{usd!r} is not an amount of USD") from None
    if not amount.is_finite():
        raise MoneyError(f"{usd!r} is not an amount of USD")
    if abs(amount.adjusted()) > 20:
        raise MoneyError(f"{usd} USD is out of range")
    scaled = amount.scaleb(9)
    whole = int(scaled)
    if whole != scaled:
        raise MoneyError(f"{usd} USD has more than nine decimals")
    return checked(whole)


def checked(amount: Nano) -> Nano:
    """Return the amount; raises MoneyError where an Int64 could not hold it."""
    if not -MAX_NANO <= amount <= MAX_NANO:
        raise MoneyError(f"{amount} nano-dollars are out of range")
    return amount


def usd(amount: Nano, places: int = 2) -> str:
    """Return an amount as exact USD text: at least `places` decimals, at most nine."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), NANOS_PER_USD)
    decimals = f"{rest:09d}".rstrip("0").ljust(places, "0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def usd_json(amount: Nano) -> orjson.Fragment:
    """Return an amount as an exact JSON number of USD."""
    return orjson.Fragment(usd(amount, 0).encode())


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs: a rate a bucket, in nano-dollars per million tokens, and a version.

    Prices of one version have the same rates, always: `Price.of` makes the version of the rates.

    A bucket without a rate of its own is billed at the rate of the bucket it refines
    (`cached_input`, `cache_write` and `audio_in` as `input`; `reasoning` and `audio_out` as
    `output`). `images` has a rate a piece and none unless it is sold by the piece. Free is an
    explicit zero.

    `input_rate` and `output_rate` are the highest rates that a token going in or coming out can be
    billed at; `free` is true when no usage can cost anything.
    """

    version: str
    rates: dict[Bucket, int]
    input_rate: int = field(init=False)
    output_rate: int = field(init=False)
    free: bool = field(init=False)
    _in_force: dict[Bucket, int] = field(init=False, repr=False)
    _in_order: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        own = self.rates
        rates = {b: own.get(b, own.get(_REFINES.get(b, b), 0)) for b in BUCKETS}
        out: tuple[Bucket, ...] = ("output", "reasoning", "audio_out")
        coming_out = max(rates[bucket] for bucket in out)
        going_in = max(r for b, r in rates.items() if b not in out and b != "images")
        object.__setattr__(self, "_in_force", rates)
        object.__setattr__(self, "_in_order", tuple(rates.values()))
        object.__setattr__(self, "input_rate", going_in)
        object.__setattr__(self, "output_rate", coming_out)
        object.__setattr__(self, "free", not any(own.values()))

    @classmethod
    def of(cls, rates: dict[Bucket, int]) -> Price:
        """Return the price with these rates; equal rates are one version."""
        canonical = orjson.dumps(rates, option=orjson.OPT_SORT_KEYS)
        return cls(hashlib.sha256(canonical).hexdigest()[:12], rates)

    def rate(self, bucket: Bucket) -> int:
        """Return the rate in force for a bucket."""
        return self._in_force[bucket]

    def most(self, input_tokens: int, output_tokens: int, images: int) -> Nano:
        """Return the price of this much, all of it at the worst rate, rounded up.

        It is at least that of every usage with no more input, output and images in all.
        """
        exact = (
            input_tokens * self.input_rate
            + output_tokens * self.output_rate
            + images * self._in_force["images"] * TOKENS_PER_RATE
        )
        amount = -(-exact // TOKENS_PER_RATE)
        return amount if 0 <= amount <= MAX_NANO else checked(amount)

    def bill(self, usage: Usage) -> Bill:
        """Return the bill for this usage, line by line."""
        numbers = usage[:8]
        items = zip(BUCKETS, numbers, self._in_order, strict=True)
        return Bill.of(compress(items, numbers), self.version)  # most buckets are empty


_REFINES: dict[Bucket, Bucket] = {
    "cached_input": "input",
    "cache_write": "input",
    "audio_in": "input",
    "reasoning": "output",
    "audio_out": "output",
}


class BillLine(NamedTuple):
    """One bucket of a bill: `quantity` tokens (or pieces) at `rate`, `amount` in nano."""

    bucket: Bucket
    quantity: int
    rate: int
    amount: Nano


class Bill(NamedTuple):
    """What a request costs, such that a customer can compute it again.

    `cost` is the exact sum of quantity times rate, rounded once, up, to a whole nano-dollar. Line
    amounts are the growth of the rounded running sum, so they always add up to `cost`. `version`
    is that of the price it was made at; empty where no one price gives such a bill.
    """

    lines: tuple[BillLine, ...]
    cost: Nano
    version: str = ""

    @classmethod
    def of(cls, items: Iterable[tuple[Bucket, int, int]], version: str = "") -> Bill:
        """Return the bill for (bucket, quantity, rate) items; quantities are never negative."""
        lines: list[BillLine] = []
        exact = billed = 0
        for bucket, quantity, rate in items:
            if quantity == 0:
                continue
            assert quantity > 0 <= rate, (bucket, quantity, rate)
            exact += quantity * rate * (TOKENS_PER_RATE if bucket == "images" else 1)
            running = -(-exact // TOKENS_PER_RATE)
            # As `BillLine(…)`, which costs twice as much as the sums; so below.
            line = tuple.__new__(BillLine, (bucket, quantity, rate, running - billed))
            lines.append(line)
            billed = running
        cost = billed if billed <= MAX_NANO else checked(billed)
        return tuple.__new__(cls, (tuple(lines), cost, version))


NO_BILL = Bill((), 0)
