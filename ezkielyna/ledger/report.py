"""Reports of usage for people and spreadsheets; one line a request, amounts exact."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from ezkielyna.contract.money import usd

COLUMNS = (
    "request_id",
    "started_at",
    "key",
    "model",
    "provider",
    "endpoint",
    "outcome",
    "status",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "source",
    "cost_usd",
    "first_byte_ms",
    "duration_ms",
)

LINES = 200
"""Lines that are handed on together."""


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet takes a cell for a formula."""


async def csv_of(
    documents: AsyncIterator[Mapping[str, Any]], *, end: str = "\r\n"
) -> AsyncIterator[str]:
    """Yield a CSV file in pieces: the head, then a line for each usage document.

    Lines end as RFC 4180 says; a terminal may have them otherwise. A text that a spreadsheet would
    run as a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(COLUMNS)
    lines = 1
    async for document in documents:
        writer.writerow([inert(cell) for cell in row(document)])
        lines += 1
        if lines >= LINES:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
            lines = 0
    if lines:
        yield text.getvalue()


def row(document: Mapping[str, Any]) -> list[str | int]:
    """Return the line of a usage document; times are in UTC, durations from the request's start."""
    started, tokens = document["started_at"], document["tokens"]
    return [
        document["_id"],
        started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        document["key"],
        document["model"],
        document["provider"],
        document["endpoint"],
        document["outcome"],
        document["status"],
        tokens["input"],
        tokens["cached_input"],
        tokens["cache_write"],
        tokens["output"],
        tokens["reasoning"],
        tokens["images"],
        document["source"],
        usd(document["cost"], 0),
        _since(started, document["first_byte_at"]),
        _since(started, document["ended_at"]),
    ]


def inert(cell: str | int) -> str | int:
    """Return a cell such that no spreadsheet runs it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _since(start: datetime, moment: datetime | None) -> int | str:
    """Return whole milliseconds; nothing for what did not happen."""
    return "" if moment is None else round((moment - start).total_seconds() * 1000)
