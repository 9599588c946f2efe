"""Which limits a request is under: its account's, its key's and its model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from ezkielyna.contract.context import Account, Key, Model, Plan


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests and tokens a minute, tokens a day, requests at once; 0 means no limit."""

    rpm: int = 0
    tpm: int = 0
    tpd: int = 0
    concurrency: int = 0

    def __bool__(self) -> bool:
        return bool(self.rpm or self.tpm or self.tpd or self.concurrency)


LIMIT_NAMES = ("rpm", "tpm", "tpd", "concurrency")
NO_LIMITS = Limits()

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Override:
    """Limits that an operator set for one account or key; None leaves the plan's.

    `models`, on an account only, overrides by name or prefix pattern.
    """

    rpm: int | None = None
    tpm: int | None = None
    tpd: int | None = None
    concurrency: int | None = None
    models: tuple[tuple[str, Override], ...] = ()

    def over(self, limits: Limits) -> Limits:
        """Return these limits with what is overridden."""
        return Limits(
            limits.rpm if self.rpm is None else self.rpm,
            limits.tpm if self.tpm is None else self.tpm,
            limits.tpd if self.tpd is None else self.tpd,
            limits.concurrency if self.concurrency is None else self.concurrency,
        )


class Scope(NamedTuple):
    """One count that a request is subject to, with the limits it may reach.

    `id` is the same for all requests that count together. `whom` is for people: "" for the
    account, else such as " for this API key".
    """

    id: str
    limits: Limits
    whom: str = ""


def scopes(plan: Plan, account: Account, key: Key, model: Model | None = None) -> list[Scope]:
    """Return what a request counts against: the account, then its key and model where limited.

    A model counts apart in every account. Without a model, as for a list, only the others count.
    """
    found = [Scope(account.id, account_limits(plan, account))]
    limits = key_limits(plan, key)
    if limits:
        found.append(Scope(key.id, limits, " for this API key"))
    if model is not None:
        limits = model_limits(plan, account, model.name)
        if limits:
            whom = f" for the model '{model.name}'"
            found.append(Scope(f"{account.id}/{model.name}", limits, whom))
    return found


def account_limits(plan: Plan, account: Account) -> Limits:
    """Return the limits of all requests of an account together."""
    own = Limits(plan.rpm, plan.tpm, plan.tpd, plan.concurrency)
    return own if account.limits is None else account.limits.over(own)


def key_limits(plan: Plan, key: Key) -> Limits:
    """Return the limits of one key."""
    return plan.key if key.limits is None else key.limits.over(plan.key)


def model_limits(plan: Plan, account: Account, model: str) -> Limits:
    """Return the limits of one model in one account."""
    limits = _closest(plan.model, model) or NO_LIMITS
    if account.limits is None:
        return limits
    override = _closest(account.limits.models, model)
    return limits if override is None else override.over(limits)


def _closest(entries: tuple[tuple[str, _T], ...], model: str) -> _T | None:
    """Return the entry of the name itself, else of the longest prefix pattern that covers it."""
    best, length = None, -1
    for pattern, entry in entries:
        if pattern == model:
            return entry
        if pattern.endswith("*") and len(pattern) > length and model.startswith(pattern[:-1]):
            best, length = entry, len(pattern)
    return best
