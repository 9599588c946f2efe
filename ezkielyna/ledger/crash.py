"""Crash points: named places at which a test kills the process with SIGKILL.

`EZKIELYNA_CRASH_POINT=after_begin` kills at the first pass, `after_begin:7` at the seventh. Without
the variable a crash point is one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal

VARIABLE = "EZKIELYNA_CRASH_POINT"

_NAME, _, _PASS = os.environ.get(VARIABLE, "").partition(":")
_LAST = int(_PASS or 1)
ARMED = bool(_NAME)
"""True when the environment names a crash point: the busiest places ask before they call."""

_PASSES = itertools.count(1)

CRASH_POINTS = (
    "before_grant",
    "in_grant",
    "after_grant",
    "before_begin",
    "after_begin",
    "after_progress",
    "before_kept",
    "after_kept",
    "before_end",
    "after_end",
    "before_batch",
    "after_batch",
    "before_commit",
    "in_settlement",
    "after_commit",
    "after_ack",
    "before_return",
    "in_return",
    "after_return",
    "after_rotation",
    "in_recovery",
    "after_recovered_batch",
    "before_journal_removed",
)
"""Every name there is, in the order in which a request meets them."""


def crash_point(name: str) -> None:
    """Kill this process here when the environment arms this name; else do nothing."""
    if name == _NAME and next(_PASSES) == _LAST:
        os.kill(os.getpid(), signal.SIGKILL)
