"""The id that every answer carries in `x-request-id`, an API's and a page's alike."""

from __future__ import annotations

import os
import time


def new_request_id() -> str:
    """Return a request id that no other process makes: milliseconds, then 64 random bits."""
    return f"req_{time.time_ns() // 1_000_000:011x}{os.urandom(8).hex()}"
