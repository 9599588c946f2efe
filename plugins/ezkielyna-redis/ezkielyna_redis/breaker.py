"""When to stop asking Redis, and when to try again."""

from __future__ import annotations

import random

FAILURES = 5
"""Failures in a row that open the breaker."""

OPEN_S = 5.0
"""How long it stays open before a probe, give or take a fifth."""

SPREAD = 0.2


class Breaker:
    """Closed until `FAILURES` calls in a row failed; open until a probe succeeds."""

    def __init__(self) -> None:
        self._failures = 0
        self.is_open = False

    def failed(self) -> bool:
        """Count a failure; True when this one opened the breaker."""
        self._failures += 1
        if self.is_open or self._failures < FAILURES:
            return False
        self.is_open = True
        return True

    def succeeded(self) -> bool:
        """Start counting anew; True when this closed the breaker."""
        self._failures = 0
        was_open, self.is_open = self.is_open, False
        return was_open

    def pause_s(self) -> float:
        """Return the seconds until the next probe, so that processes do not probe as one."""
        return OPEN_S * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - no secret
