"""The process's own limits: requests in flight, and memory. Past them 503, before any work.

The third, open connections, is the listener's. A request asks for one comparison; memory is looked
at once a second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from ezkielyna.contract.errors import Overloaded

log = structlog.stdlib.get_logger("ezkielyna.guard")

MIB = 2**20
LOOK_S = 1.0
RETRY_S = 1.0
MEMORY_RETRY_S = 5.0

FEW = 8
"""Requests at a time past the limit of memory: a process that does not shrink is not dead."""

RELIEF = 0.95
"""The part of the limit below which memory is enough again."""

SHARE = 0.8
"""The part of the machine's memory that the processes may take together, unless configured."""

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Guard:
    """Says how many requests may be in flight now: `most`. `memory` is in bytes, 0 for no limit."""

    def __init__(
        self, in_flight: int, memory: int = 0, resident: Callable[[], int] | None = None
    ) -> None:
        self._in_flight = in_flight
        self._memory = memory
        self._resident = resident or resident_bytes
        self._timer: asyncio.TimerHandle | None = None
        self.most = in_flight
        self.short = False
        """Whether there is less memory than there should be."""

    def start(self) -> None:
        """Begin to look at memory, where there is a limit and a way to know."""
        if self._memory and self._resident():
            self._look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def trouble(self) -> str | None:
        """Say that requests are refused for want of memory; None while they are not."""
        return "memory is short: few requests are served at a time" if self.short else None

    def refusal(self) -> Overloaded:
        """Return the error for a request beyond `most`."""
        if self.short:
            return Overloaded(
                "This server is short of memory. Try again in a few seconds.",
                retry_after_s=MEMORY_RETRY_S,
            )
        return Overloaded("This server is at its limit. Try again soon.", retry_after_s=RETRY_S)

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        used = self._resident()
        if used > self._memory and not self.short:
            self._set(True, used)
        elif self.short and used < self._memory * RELIEF:
            self._set(False, used)

    def _set(self, short: bool, used: int) -> None:
        self.short = short
        self.most = min(FEW, self._in_flight) if short else self._in_flight
        say = log.error if short else log.warning
        say(
            "memory is short: requests are refused" if short else "memory is enough again",
            used_mib=used // MIB,
            limit_mib=self._memory // MIB,
        )


def resident_bytes() -> int:
    """Return how much memory this process has; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_share(mib: int, processes: int) -> int:
    """Return the bytes that one process may have: as configured, or a share of the machine's.

    A control group with a limit of its own is the machine, for this purpose.
    """
    if mib:
        return mib * MIB
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _GROUPS:
        try:
            whole = min(whole, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # there is none, or it is "max"
    return int(whole * SHARE) // processes
