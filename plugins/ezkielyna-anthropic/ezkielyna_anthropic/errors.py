"""Errors of the upstream: what each stands for in the gateway's one table of errors."""

from __future__ import annotations

import math
from typing import Any

import orjson

from ezkielyna import Headers, UpstreamError, UpstreamTimeout

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status of each type; where the two differ, the type is the upstream's own word."""

_UNPAID = "credit balance"


def from_answer(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """Return the error that an answer stands for; never raises, whatever the body is."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    return from_document(document, status, _retry_after(headers))


def from_document(document: Any, status: int, wait_s: float | None = None) -> UpstreamError:
    """Return the error that a body or an event stands for; `status` where it has no known type."""
    error = document.get("error") if isinstance(document, dict) else None
    told = error if isinstance(error, dict) else {}
    status, message = _STATUS.get(str(told.get("type")), status), str(told.get("message") or "")
    if status in (401, 402, 403) or _UNPAID in message:
        # The operator's account, not the customer's, who must not read about it.
        return UpstreamError("The upstream refused the gateway's own credential.")
    if status == 429:
        return UpstreamError.rate_limited("The upstream's limit is reached.", retry_after_s=wait_s)
    if status in (503, 529):
        return UpstreamError.overloaded("The upstream is overloaded.", retry_after_s=wait_s)
    if status in (408, 504):
        return UpstreamTimeout("The upstream took too long to answer.")
    if 400 <= status < 500 and status != 409:
        return UpstreamError.refused(message or f"The upstream refused the request ({status}).")
    return UpstreamError("The upstream failed to answer.", retry_after_s=wait_s)


def _retry_after(headers: Headers) -> float | None:
    """Return the seconds that the upstream asks to wait; None where it gives none, or a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
