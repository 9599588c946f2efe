"""A sample of usage for who has none yet: what the pages will look like. Always marked as one."""

from __future__ import annotations

from datetime import timedelta

from ezkielyna.ledger.periods import Period
from ezkielyna.ledger.series import Series, series
from ezkielyna.storage.rollups import Cell
from ezkielyna.storage.usage import Sums

SHARES = {"a-large-model": 5, "a-small-model": 3, "an-embedding-model": 1}
WEEK = (9, 12, 11, 14, 10, 3, 2)


def sample(period: Period) -> Series:
    """Return what an account might have used in a period."""
    cells: list[Cell] = []
    moment, position = period.since, 0
    while moment < period.until:
        for model, share in SHARES.items():
            level = share * WEEK[moment.weekday()] * (4 + position * share % 5)
            sums = Sums(
                requests=level,
                errors=level // 60,
                first_bytes=level,
                first_byte_ms=level * 90 * share,
                duration_ms=level * 700 * share,
                cost=level * 1_000_000 * share,
                tokens={"input": level * 900, "output": level * 250},
            )
            cells.append(Cell(moment, model, sums))
        moment += timedelta(hours=1) if period.unit == "hour" else timedelta(days=1)
        position += 1
    return series(period, cells)
