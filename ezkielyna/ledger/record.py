"""The one record of a request: begun when it is accepted, completed when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ezkielyna.contract.money import NO_BILL, Bill
from ezkielyna.contract.requests import Endpoint
from ezkielyna.contract.usage import Usage

NO_USAGE = Usage()

Outcome = Literal[
    "open",
    "ok",
    "client_gone",
    "upstream_failed",
    "upstream_timeout",
    "money_ended",
    "refused",
    "failed",
    "crashed",
]
"""How a request ended: `refused` by the upstream as wrong, `failed` by a fault of ours, `crashed`
with its worker; `open` only while it runs."""


class Attempt(NamedTuple):
    """One try at an upstream; times in Unix seconds, `status` 0 where there was no answer."""

    provider: str
    upstream_model: str
    started_at: float
    ended_at: float
    status: int
    error: str = ""


@dataclass(slots=True)
class UsageRecord:
    """What becomes the usage document. The first line of fields is fixed at the beginning.

    `price_version` is the catalogue's at the beginning; what is billed can be at another price.
    `first_byte_at` and `ended_at` are Unix seconds, None until then. `flags` are stable words for
    what an operator should look at, such as `absurd_usage`.
    """

    request_id: str
    account: str
    key: str
    model: str
    provider: str
    endpoint: Endpoint
    started_at: float
    price_version: str

    first_byte_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome = "open"
    status: int = 0
    usage: Usage = NO_USAGE
    bill: Bill = NO_BILL
    attempts: list[Attempt] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    @property
    def billed_at(self) -> str:
        """The version of the price that the bill is made at; empty where the bill names none.

        Without anything billed it is the catalogue's.
        """
        return self.bill.version if self.bill.lines else self.price_version
