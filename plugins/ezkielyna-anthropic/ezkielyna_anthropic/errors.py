"""Errors of the upstream: what each stands for in the gateway's one table of errors."""

from __future__ import annotations

import math
from typing import Any

import orjson

from ezkielyna import Headers, UpstreamError, UpstreamTimeout

_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OURS = frozenset({"authentication_error", "permission_error", "billing_error"})
_THEIRS = frozenset({"invalid_request_error", "not_found_error", "request_too_large"})
_UNPAID = "credit balance"


def from_answer(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """Return the error that an answer stands for; never raises, whatever the body is."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    kind, message = _told(document)
    return _error(kind or _BY_STATUS.get(status, ""), status, message, _retry_after(headers))


def from_event(document: Any) -> UpstreamError:
    """Return the error that an `error` document stands for where the status was 200."""
    kind, message = _told(document)
    return _error(kind, 0, message, None)


def _told(document: Any) -> tuple[str, str]:
    """Return type and message of an error document; "" for what it does not say."""
    error = document.get("error") if isinstance(document, dict) else None
    told = error if isinstance(error, dict) else {}
    kind, message = told.get("type"), told.get("message")
    return kind if isinstance(kind, str) else "", message if isinstance(message, str) else ""


def _error(kind: str, status: int, message: str, retry_after_s: float | None) -> UpstreamError:
    if kind in _OURS or _UNPAID in message:
        # The operator's account, not the customer's: its text is for neither of their eyes.
        return UpstreamError("The upstream refused the gateway's own credential.")
    if kind == "rate_limit_error":
        return UpstreamError.rate_limited(
            "The upstream's rate limit is reached; try again.", retry_after_s=retry_after_s
        )
    if kind == "overloaded_error":
        return UpstreamError.overloaded(
            "The upstream is overloaded; try again.", retry_after_s=retry_after_s
        )
    if kind == "timeout_error":
        return UpstreamTimeout("The upstream took too long to answer.")
    if kind in _THEIRS or (400 <= status < 500 and status != 409):
        return UpstreamError.refused(message or f"The upstream refused the request ({status}).")
    return UpstreamError("The upstream failed to answer.", retry_after_s=retry_after_s)


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
