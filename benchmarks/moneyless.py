"""`python -m benchmarks.moneyless usage serve …`: this gateway without its money, for its price.

Requests are authenticated, limited, routed, relayed and counted as ever. But nothing is reserved,
leased, written to the journal or booked, and bills are thrown away. With `usage` each request has
its usage document and its place in the roll-ups; with `relay` nothing is kept of it either. The
product has no such switch: this is for two of the benchmark's columns alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from unittest import mock

from ezkielyna import app
from ezkielyna.cli.main import main
from ezkielyna.contract.money import NO_BILL, Bill, Nano
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger import books, encoding
from ezkielyna.ledger.books import Ledger, Reservation
from ezkielyna.ledger.journal import Ended, Journal
from ezkielyna.ledger.record import UsageRecord

PROGRAM = "benchmarks.moneyless"


class Unwritten(Journal):
    """Writes down no request."""

    def batch(self, n: int, at: float, ended: Sequence[Ended]) -> None:
        """Fix nothing."""

    def ack(self, n: int) -> None:
        """Forget nothing."""


class Moneyless(Ledger):
    """Promises whatever it is asked for, and keeps what was used."""

    def reserve_now(self, record: UsageRecord, most: Nano) -> Reservation:
        """Promise."""
        return Reservation(self, self._holdings.of(record.account), record, most)

    async def reserve(self, record: UsageRecord, most: Nano, least: Nano) -> Reservation:
        """Promise."""
        return self.reserve_now(record, most)

    def extend(self, reservation: Reservation, to: Nano) -> bool:
        """Promise more."""
        reservation.amount = max(to, reservation.amount)
        return True

    def progress(self, reservation: Reservation, usage: Usage, bill: Bill) -> None:
        """Forget."""

    def settle(self, reservation: Reservation) -> None:
        """Keep the usage, and charge nothing for it."""
        record = reservation.record
        record.bill = NO_BILL
        begin, end = encoding.begin(record, 0), encoding.whole_end(record)
        self._settler.add(Ended(record.request_id, 0, begin, end))


class Forgetful(Moneyless):
    """Keeps nothing."""

    def settle(self, reservation: Reservation) -> None:
        """Forget."""


LEDGERS = {"usage": Moneyless, "relay": Forgetful}


if __name__ == "__main__":
    with (
        mock.patch.object(app, "Ledger", LEDGERS[sys.argv.pop(1)]),
        mock.patch.object(books, "Journal", Unwritten),
    ):
        main(prog_name=PROGRAM)
