"""`python -m benchmarks.moneyless serve …`: this gateway without its money, to tell its price.

Requests are authenticated, limited, routed and relayed as ever; but nothing is reserved, written to
the journal or settled. The product has no such switch: this is for the benchmark's column alone.
"""

from __future__ import annotations

from unittest import mock

from ezkielyna import app
from ezkielyna.cli.main import main
from ezkielyna.contract.money import Bill, Nano
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.books import Ledger, Reservation
from ezkielyna.ledger.record import UsageRecord

PROGRAM = "benchmarks.moneyless"


class Moneyless(Ledger):
    """Promises whatever it is asked for, and forgets it."""

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
        """Forget."""


if __name__ == "__main__":
    with mock.patch.object(app, "Ledger", Moneyless):
        main(prog_name=PROGRAM)
