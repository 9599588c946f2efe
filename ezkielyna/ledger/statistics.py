"""What an account used, from its roll-ups: a series over a period, and spending of late."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from ezkielyna.contract.money import Nano
from ezkielyna.ledger.periods import DAY, Period, midnight, tomorrow
from ezkielyna.ledger.series import Series, series
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import Grain
from ezkielyna.storage.rollups import cells, cells_by
from ezkielyna.storage.usage import Dimension


async def usage_series(database: Database, account: str, by: Dimension, period: Period) -> Series:
    """Return an account's usage in a period. Raises StorageError."""
    return (await usage_by(database, account, (by,), period))[by]


async def usage_by(
    database: Database, account: str, dimensions: Collection[Dimension], period: Period
) -> dict[Dimension, Series]:
    """Return the same by several dimensions; their totals are equal. Raises StorageError."""
    grain: Grain = "hour" if period.unit == "hour" else "day"
    found = await cells_by(database, account, dimensions, period.since, period.until, grain)
    return {by: series(period, cells) for by, cells in found.items()}


@dataclass(slots=True)
class Spend:
    """Nano-dollars spent today, and in 7 and 30 days, today included; days are UTC's."""

    today: Nano = 0
    week: Nano = 0
    month: Nano = 0

    def add(self, days_ago: int, amount: Nano) -> None:
        """Add what was spent so many days ago, 0 for today; at most 29."""
        self.month += amount
        if days_ago < 7:
            self.week += amount
        if days_ago == 0:
            self.today += amount


@dataclass(slots=True)
class Spending:
    """What an account spent of late, in all and by key id."""

    account: Spend = field(default_factory=Spend)
    keys: dict[str, Spend] = field(default_factory=dict)


async def spending(database: Database, account: str, now: datetime) -> Spending:
    """Return what an account spent of late. Raises StorageError."""
    until = tomorrow(now)
    found = Spending()
    for cell in await cells(database, account, "key", until - 30 * DAY, until):
        days_ago = (midnight(now) - midnight(cell.start)).days
        found.account.add(days_ago, cell.sums.cost)
        found.keys.setdefault(cell.value, Spend()).add(days_ago, cell.sums.cost)
    return found
