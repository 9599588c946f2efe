"""What an upstream's error stands for, and how much of it a client may read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from ezkielyna import Headers, UpstreamError, UpstreamTimeout
from ezkielyna_openai.documents import loads

MAX_MESSAGE = 1000
"""Characters of an upstream's message that are handed on."""

REFUSALS = frozenset({400, 404, 409, 413, 415, 422})
CREDENTIALS = frozenset({401, 402, 403})
TIMEOUTS = frozenset({408, 504, 524})
OVERLOADS = frozenset({503, 529})

_SECRETS = re.compile(
    r"""
    https?://[^\s"'<>]+                       # addresses, and what their queries hold
    | \b(?:Bearer|Basic)\s+[\w.~+/=*-]+       # credentials
    | \b(?:sk|pk|gsk|xai|key|r8|hf|csk|pplx)[-_][\w*-]{8,}     # keys, also masked ones
    | \borg-\w{8,} | \bproj_\w{8,}            # whose account it is
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b    # IPv4 addresses
    | \b[\w.+-]+@[\w-]+\.[\w.]+               # e-mail addresses
    """,
    re.VERBOSE | re.IGNORECASE,
)


def failure(status: int, headers: Headers, body: bytes, secret: str = "") -> UpstreamError:
    """Return the error for an answer other than 200; never raises."""
    return explained(status, headers, error_in(_document(body)), secret)


def explained(
    status: int, headers: Headers, error: Mapping[str, Any], secret: str = ""
) -> UpstreamError:
    """Return the error for a status and the upstream's own error object."""
    text = masked(_message(error), secret)
    wait = retry_after_s(headers)
    if status in CREDENTIALS:
        return UpstreamError("The upstream does not accept the gateway's credentials.")
    if status == 429 and _out_of_quota(error):
        return UpstreamError("The gateway's quota at the upstream is used up.")
    if status == 429:
        return UpstreamError.rate_limited(
            text or "The upstream's rate limit is reached.", retry_after_s=wait
        )
    if status in REFUSALS:
        said = text or f"The upstream refused the request (HTTP {status})."
        return UpstreamError.refused(said, param=_param(error))
    if status in TIMEOUTS:
        return UpstreamTimeout("The upstream took too long to answer.", retry_after_s=wait)
    if status in OVERLOADS:
        return UpstreamError.overloaded(text or "The upstream is overloaded.", retry_after_s=wait)
    said = f"The upstream failed (HTTP {status})" + (f": {text}" if text else ".")
    return UpstreamError(said, retry_after_s=wait, retryable=status >= 500 or status < 400)


def in_stream(document: Any, secret: str = "") -> UpstreamError:
    """Return the error that an event of a stream, or an answer of status 200, reports."""
    error = error_in(document)
    status = _status(error)
    if status is not None:
        return explained(status, {}, error, secret)
    text = masked(_message(error), secret)
    return UpstreamError(f"The upstream failed: {text}" if text else "The upstream failed.")


def error_in(document: Any) -> dict[str, Any]:
    """Return the error object of an error body, whatever its shape; empty without one."""
    if isinstance(document, list):
        document = document[0] if document else None
    if isinstance(document, str):
        return {"message": document}
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {**document, "message": document.get("message") or error}
    return document


def masked(text: str, secret: str = "") -> str:
    """Return the text without addresses, keys and accounts, in one line of bounded length."""
    if secret:
        text = text.replace(secret, "[hidden]")
    text = " ".join(_SECRETS.sub("[hidden]", text[: 2 * MAX_MESSAGE]).split())
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"


def retry_after_s(headers: Headers) -> float | None:
    """Return how long the upstream asks to wait, in seconds; None where it does not say.

    A date is read against the answer's own `date`, as no clock is at hand.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    stated = headers.get("retry-after")
    seconds = _number(stated)
    if seconds is not None or stated is None:
        return seconds
    try:
        wait = parsedate_to_datetime(stated) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def _document(body: bytes) -> Any:
    try:
        return loads(body)
    except ValueError:
        return None


def _message(error: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "msg"):
        value = error.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return str(value[0].get("msg") or "")
    return ""


def _param(error: Mapping[str, Any]) -> str | None:
    param = error.get("param")
    return param if isinstance(param, str) else None


def _out_of_quota(error: Mapping[str, Any]) -> bool:
    return "insufficient_quota" in (error.get("code"), error.get("type"))


def _status(error: Mapping[str, Any]) -> int | None:
    """Return the HTTP status that an error object repeats."""
    for name in ("status_code", "code", "raw_status_code", "status"):
        value = error.get(name)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 1e6 else None


def is_error(document: Any) -> bool:
    """True for a document that reports an error instead of an answer."""
    if isinstance(document, list):
        return bool(document) and is_error(document[0])
    if not isinstance(document, dict):
        return False
    if document.get("error") or document.get("object") == "error":
        return True
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("finish_reason") == "error":
            return True
    return False
