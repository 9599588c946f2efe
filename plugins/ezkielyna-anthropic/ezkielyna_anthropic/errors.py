"""Errors of the upstream: what each word stands for in the table that all upstreams share."""

from __future__ import annotations

from typing import Any

from ezkielyna import UpstreamError
from ezkielyna.dialect import failed, mapping, out_of_quota, reported

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


def explained(document: Any, status: int, wait_s: float | None) -> UpstreamError | None:
    """Return the error that a body or an event stands for; None for an answer of status 200."""
    told = reported(document) or {}
    if status == 200 and mapping(document).get("type") != "error":
        return None
    status = _STATUS.get(str(told.get("type")), 502 if status == 200 else status)
    message = str(told.get("message") or "")
    if _UNPAID in message:  # the operator's account; the customer must not read about it
        return out_of_quota()
    return failed(status, message, wait_s)
