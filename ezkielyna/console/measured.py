"""How fast models were of late, for a page that anybody may open as often as they like."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ezkielyna.console.charts.usage import milliseconds
from ezkielyna.console.formats import rate
from ezkielyna.ledger.periods import DAY, tomorrow
from ezkielyna.ledger.series import latency, output_speed
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.totals import totals
from ezkielyna.storage.usage import Sums

DAYS = 7
FEWEST = 20
"""Of fewer requests nothing is told: they could be those of one customer, or mere chance."""

KEPT_S = 300.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """The mean time to the first byte in ms, and output tokens a second; None: not known."""

    first_byte_ms: int | None
    tokens_s: float | None

    @classmethod
    def of(cls, sums: Sums) -> Pace:
        """Return what enough requests came to."""
        return cls(
            latency(sums) if sums.first_bytes >= FEWEST else None,
            output_speed(sums) if sums.requests >= FEWEST else None,
        )

    @property
    def first_byte(self) -> str:
        """The time to the first byte as people read it; nothing where it is not known."""
        return "" if self.first_byte_ms is None else milliseconds(self.first_byte_ms)

    @property
    def speed(self) -> str:
        """Tokens a second as people read them; nothing where they are not known."""
        return "" if self.tokens_s is None else rate(self.tokens_s)


NO_PACE = Pace(None, None)


class Measured:
    """Paces by model over all accounts, read every five minutes at most, while somebody looks."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: Mapping[str, Pace] = {}
        self._good_until = float("-inf")

    async def paces(self) -> Mapping[str, Pace]:
        """Return what is known, by public name; models of which nothing is are left out.

        While one reads, and while the database is away, others get what was known before.
        """
        if self._clock() >= self._good_until:
            self._good_until = self._clock() + KEPT_S
            try:
                self._known = await self._read()
            except StorageError as error:
                log.info("models are shown as they were: %s", error)
        return self._known

    async def _read(self) -> Mapping[str, Pace]:
        until = tomorrow(datetime.now(UTC))
        found: dict[str, Sums] = {}
        for cell in await totals(self._database, "model", until - DAYS * DAY, until):
            found.setdefault(cell.value, Sums()).add(cell.sums)
        paces = {model: Pace.of(sums) for model, sums in found.items()}
        return {model: pace for model, pace in paces.items() if pace != NO_PACE}
