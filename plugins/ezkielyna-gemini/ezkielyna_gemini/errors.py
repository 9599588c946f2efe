"""Google's errors as ours. Our own credential's faults are never shown as the client's."""

from __future__ import annotations

import re
from typing import Any

from ezkielyna import UpstreamError
from ezkielyna.dialect import RPC_STATUS, Json, count, failed, objects, out_of_quota, reported, word

_PLACE = re.compile(r"location|billing|region|country", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s?")


def explained(document: Any, status: int, wait_s: float | None) -> UpstreamError | None:
    """Return the error that a body or an event stands for, also one that is wrapped in an array;
    None for an answer of status 200.
    """
    error = reported(document)
    if error is None and status == 200:
        return None
    told = error or {}
    code = count(told.get("code")) or 500 if status == 200 else status
    meant = RPC_STATUS.get(str(told.get("status")), code)
    message = word(told.get("message")) or ""
    if status in (401, 402, 403) or _is_ours(told, message):
        return failed(401)
    if meant == 429 and _for_the_day(told):
        return out_of_quota()
    delay = _delay(told)
    return failed(meant, message, wait_s if delay is None else delay)


def _is_ours(error: Json, message: str) -> bool:
    """True where Google refuses the operator's key, project, place or purse, not the request.

    A bad key is a 400 INVALID_ARGUMENT at Google, never a 401.
    """
    if error.get("status") == "FAILED_PRECONDITION":
        return bool(_PLACE.search(message))
    reasons = [detail.get("reason") for detail in objects(error.get("details"))]
    return "API_KEY_INVALID" in reasons or "api key not valid" in message.lower()


def _for_the_day(error: Json) -> bool:
    """True where a quota of days is used up, so that no retry passes before tomorrow."""
    details = objects(error.get("details"))
    quotas = [quota for detail in details for quota in objects(detail.get("violations"))]
    return any("PerDay" in str(quota.get("quotaId")) for quota in quotas)


def _delay(error: Json) -> float | None:
    for detail in objects(error.get("details")):
        delay = detail.get("retryDelay")
        found = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if found:
            return float(found[1])
    return None
