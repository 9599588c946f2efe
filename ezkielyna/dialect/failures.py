"""Upstreams' failures as ours: one table for all that have a status or a word that stands for one.

The operator's credential, place and purse are never shown as the customer's fault.
"""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import Any

from ezkielyna.contract.errors import UpstreamError, UpstreamTimeout
from ezkielyna.contract.provider import Headers
from ezkielyna.dialect.reading import Json, mapping, objects

UNREADABLE = "The upstream sent an answer that cannot be read."
CUT = "The upstream ended its answer before it was complete."


def failed(status: int, message: str = "", wait_s: float | None = None) -> UpstreamError:
    """Return the error for an upstream's status.

    `message` is the upstream's own, shown where the fault is the request's; `wait_s` how long it
    asks to wait.
    """
    if status in (401, 402, 403):
        return UpstreamError("The upstream refused the gateway's own credential.")
    if status == 429:
        return UpstreamError.rate_limited("The upstream's limit is reached.", retry_after_s=wait_s)
    if status in (503, 529):
        return UpstreamError.overloaded("The upstream is overloaded.", retry_after_s=wait_s)
    if status in (408, 504, 524):
        return UpstreamTimeout("The upstream took too long to answer.")
    if 400 <= status < 500 and status not in (409, 499):
        return UpstreamError.refused(message or f"The upstream refused the request ({status}).")
    return UpstreamError("The upstream failed to answer.", retry_after_s=wait_s)


def reported(document: Any) -> Json | None:
    """Return the error object of a body or an event, also of one that is wrapped in an array."""
    for item in objects(document) or [mapping(document)]:
        error = item.get("error")
        if error:
            return error if isinstance(error, dict) else {"message": str(error)}
    return None


def out_of_quota() -> UpstreamError:
    """Return the error for an account of the operator that is used up; waiting does not help."""
    return UpstreamError("The gateway's quota at the upstream is used up.")


def retry_after_s(headers: Headers) -> float | None:
    """Return how long the upstream asks to wait, in seconds; None where it does not say.

    A date is read against the answer's own `date`, as no clock is at hand.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (ValueError, TypeError):
        return None
