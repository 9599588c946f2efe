"""Google's errors as ours. Our own credential's faults are never shown as the client's."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ezkielyna import Headers, UpstreamError, UpstreamTimeout
from ezkielyna_gemini.fields import count, mapping, objects, word

UNREADABLE = "The upstream sent an answer that cannot be read."
CUT = "The upstream's answer ended before it was complete."

_CREDENTIAL = "The upstream refused the gateway's credentials; tell the operator."
_PLACE = re.compile(r"location|billing|region|country", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s?")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def failed(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """Return the error for an answer of this status; the content type is not looked at, as Google
    labels plain errors of streams as `text/event-stream`.
    """
    try:
        document = orjson.loads(body.strip().removeprefix(b"data:"))
    except orjson.JSONDecodeError:
        document = None
    return error_of(reported(document) or {}, status, headers.get("retry-after", ""))


def reported(document: Any) -> dict[str, Any] | None:
    """Return the `error` object of a document, also of one that is wrapped in an array."""
    for item in objects(document) or [mapping(document)]:
        error = item.get("error")
        if error:
            return error if isinstance(error, dict) else {"message": str(error)}
    return None


def error_of(error: dict[str, Any], status: int = 0, retry_after: str = "") -> UpstreamError:
    """Return what Google's error object stands for; `status` decides where it has no word."""
    code = status or count(error.get("code"))
    name = word(error.get("status")) or _STATUSES.get(code, "UNKNOWN")
    message = word(error.get("message")) or f"The upstream answered with status {code}."
    delay = _delay(error, retry_after)
    if _is_ours(name, status, message, error):
        return UpstreamError(_CREDENTIAL)
    if name == "RESOURCE_EXHAUSTED":
        return UpstreamError.rate_limited("The upstream's limit is reached.", retry_after_s=delay)
    if name == "UNAVAILABLE":
        return UpstreamError.overloaded("The upstream is overloaded.", retry_after_s=delay)
    if name == "DEADLINE_EXCEEDED":
        return UpstreamTimeout("The upstream took too long.")
    if name in {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE"}:
        return UpstreamError.refused(message)
    return UpstreamError(f"The upstream failed ({name}).")


def _is_ours(name: str, status: int, message: str, error: dict[str, Any]) -> bool:
    """True where Google refuses the operator's key, project, place or purse, not the request.

    A bad key is a 400 INVALID_ARGUMENT at Google, never a 401.
    """
    if name in {"UNAUTHENTICATED", "PERMISSION_DENIED"} or status in {401, 402, 403}:
        return True
    if name == "FAILED_PRECONDITION":
        return bool(_PLACE.search(message))
    reasons = [detail.get("reason") for detail in objects(error.get("details"))]
    return "API_KEY_INVALID" in reasons or "api key not valid" in message.lower()


def _delay(error: dict[str, Any], retry_after: str) -> float | None:
    delays = [detail.get("retryDelay") for detail in objects(error.get("details"))]
    for delay in [*delays, retry_after]:
        found = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if found:
            return float(found[1])
    return None
