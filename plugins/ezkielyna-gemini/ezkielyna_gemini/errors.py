"""Google's errors as ours. Our own credential's faults are never shown as the client's."""

from __future__ import annotations

import re
from typing import Any

from ezkielyna import UpstreamError
from ezkielyna.dialect import (
    RPC_STATUS,
    Json,
    count,
    failed,
    out_of_quota,
    reported,
    rpc_quotas,
    rpc_reasons,
    rpc_wait_s,
    word,
)

_PLACE = re.compile(r"location|billing|region|country", re.IGNORECASE)


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
    if meant == 429 and any("PerDay" in quota for quota in rpc_quotas(told)):
        return out_of_quota()  # no retry passes before tomorrow
    delay = rpc_wait_s(told)
    return failed(meant, message, wait_s if delay is None else delay)


def _is_ours(error: Json, message: str) -> bool:
    """True where Google refuses the operator's key, project, place or purse, not the request.

    A bad key is a 400 INVALID_ARGUMENT at Google, never a 401.
    """
    if error.get("status") == "FAILED_PRECONDITION":
        return bool(_PLACE.search(message))
    return "API_KEY_INVALID" in rpc_reasons(error) or "api key not valid" in message.lower()
