"""Errors in the model of gRPC (`google.rpc.Status`), which some upstreams send over HTTP too."""

from __future__ import annotations

import re
from typing import Final

from ezkielyna.dialect.reading import Json, objects

RPC_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status of each word for a status of gRPC."""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s?")


def rpc_reasons(error: Json) -> list[str]:
    """Return the words for why, of `ErrorInfo`."""
    return [str(detail["reason"]) for detail in _details(error) if detail.get("reason")]


def rpc_quotas(error: Json) -> list[str]:
    """Return the ids of the quotas that are used up, of `QuotaFailure`."""
    violations = [one for detail in _details(error) for one in objects(detail.get("violations"))]
    return [str(violation.get("quotaId")) for violation in violations]


def rpc_wait_s(error: Json) -> float | None:
    """Return how long to wait, of `RetryInfo`; None where it does not say."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        found = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if found:
            return float(found[1])
    return None


def _details(error: Json) -> list[Json]:
    return objects(error.get("details"))
