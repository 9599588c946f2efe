"""Durations as OpenAI's rate headers write them: `12ms`, `1.2s`, `6m0s`, `1h0m5s`."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Return a duration, rounded up, so that who waits this long has waited long enough."""
    if seconds <= 0:
        return "0s"
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        whole, tenths = divmod(math.ceil(seconds * 10), 10)
        return f"{whole}.{tenths}s" if tenths else f"{whole}s"
    whole = math.ceil(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s"
