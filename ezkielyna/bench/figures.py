"""From what the processes saw to the figures of one step. Pure; seconds in, milliseconds out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ezkielyna.bench.plan import Limits, Load
from ezkielyna.bench.tally import Histogram, Record

POINTS = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
LATENCIES = ("first_byte_ms", "first_token_ms", "token_ms", "gap_ms", "total_ms", "late_ms")
RATES = ("requests_s", "good_s", "chunks_s", "tokens_s")
CURVE_POINTS = 200
_BUSY = 0.9
_LATE_MS = 5.0

Figures = dict[str, Any]


def figures(load: Load, limits: Limits, seen: Sequence[dict[str, Any]]) -> Figures:
    """Return the figures of one round of one step.

    Latencies are those of the requests that were due in the window, however late they ended; rates
    count what came inside of the window, whenever it began.
    """
    records = [Record(*one) for part in seen for one in part["records"]]
    well = [one for one in records if not one.error]
    begins, ends = _window(load, records)
    seconds = ends - begins
    gaps = Histogram()
    for part in seen:
        gaps.merge(part["gaps"])
    good = [one for one in well if meets(one, limits)]
    found = {
        "seconds": seconds,
        "requests": len(records),
        "errors": len(records) - len(well),
        "error_share": (len(records) - len(well)) / len(records) if records else 0.0,
        "error_kinds": dict(Counter(one.error for one in records if one.error).most_common(20)),
        "good_share": len(good) / len(records) if records else 0.0,
        **rates(load, seen, well, seconds),
        "first_byte_ms": summary(_after_start(well, "first_byte")),
        "first_token_ms": summary(_after_start(well, "first_token")),
        "token_ms": summary(_token_times(well)),
        "gap_ms": _histogram_summary(gaps),
        "total_ms": summary([one.end - one.start for one in well]),
        "late_ms": summary([one.sent - one.start for one in records]),
        "generator_busy": max((part["busy"] for part in seen), default=0.0),
        "curve": curve(records),
        "timeline": timeline(records, seen, begins, ends),
    }
    found["good_s"] = found["requests_s"] * len(good) / len(well) if well else 0.0
    return found | {"warnings": list(warnings(found))}


def _window(load: Load, records: Sequence[Record]) -> tuple[float, float]:
    """Return from when to when things count: as ordered, or while so many requests ran."""
    if not load.requests:
        return 0.0, load.duration_s
    first = min([one.start for one in records], default=0.0)
    return first, max([one.end for one in records], default=0.0) + 1e-9


def rates(
    load: Load, seen: Sequence[dict[str, Any]], well: Sequence[Record], seconds: float
) -> Figures:
    """Return answered requests, tokens and chunks a second of the window."""
    answered = sum(part["answered"] for part in seen)
    tokens = sum(part["tokens"] for part in seen)
    if load.requests:  # the window is these requests; those of the warm-up may end in it
        answered, tokens = len(well), sum(one.output_tokens for one in well)
    chunks = sum(part["chunks"] for part in seen)
    return {
        "requests_s": answered / seconds,
        "chunks_s": chunks / seconds,
        "tokens_s": tokens / seconds,
    }


def _after_start(records: Iterable[Record], moment: str) -> list[float]:
    times = ((one.start, getattr(one, moment)) for one in records)
    return [at - start for start, at in times if at is not None]


def _token_times(records: Iterable[Record]) -> list[float]:
    """Return the mean time a token, for each stream that has one."""
    return [time for one in records if (time := token_time(one)) is not None]


def token_time(one: Record) -> float | None:
    """Return the mean time from one output token to the next; None for fewer than two."""
    if one.first_token is None or one.last_token is None or one.output_tokens < 2:
        return None
    return (one.last_token - one.first_token) / (one.output_tokens - 1)


def meets(one: Record, limits: Limits) -> bool:
    """Return whether an answered request met all stated limits; what it never had meets none."""
    times = {
        "first_byte": None if one.first_byte is None else one.first_byte - one.start,
        "first_token": None if one.first_token is None else one.first_token - one.start,
        "gap": one.longest_gap,
        "token": token_time(one) or 0.0,
        "total": one.end - one.start,
    }
    return all(
        (time := times[name]) is not None and time <= limit for name, limit in limits.stated.items()
    )


def summary(times: Sequence[float]) -> dict[str, float]:
    """Return count, mean, deviation, extremes and percentiles of times; empty without any."""
    if not times:
        return {}
    ordered = sorted(times)
    count = len(ordered)
    mean = sum(ordered) / count
    deviation = (sum((one - mean) ** 2 for one in ordered) / count) ** 0.5
    points = {name: ordered[round(share * (count - 1))] for name, share in POINTS.items()}
    every = {"mean": mean, "deviation": deviation, "min": ordered[0], **points, "max": ordered[-1]}
    return {"count": count, **{name: _ms(value) for name, value in every.items()}}


def _histogram_summary(times: Histogram) -> dict[str, float]:
    if not times.count:
        return {}
    points = {name: _ms(times.quantile(share)) for name, share in POINTS.items()}
    mean = _ms(times.total / times.count)
    return {"count": times.count, "mean": mean, **points, "max": _ms(times.longest)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)


def curve(records: Iterable[Record]) -> dict[str, list[float]]:
    """Return the distribution of whole times and first bytes as points at even shares, in ms."""
    well = [one for one in records if not one.error]
    totals = sorted(one.end - one.start for one in well)
    firsts = sorted(_after_start(well, "first_byte"))
    return {"total_ms": _points(totals), "first_byte_ms": _points(firsts)}


def _points(ordered: Sequence[float]) -> list[float]:
    last = len(ordered) - 1
    count = min(CURVE_POINTS, last)
    return [_ms(ordered[round(last * step / count)]) for step in range(count + 1)] if count else []


def timeline(
    records: Sequence[Record], seen: Sequence[dict[str, Any]], begins: float, ends: float
) -> list[dict[str, float]]:
    """Return one row a second of the window: ended, failed, chunks, and first bytes by start."""
    ended: defaultdict[int, list[bool]] = defaultdict(list)
    begun: defaultdict[int, list[Record]] = defaultdict(list)
    for one in records:
        ended[int(one.end)].append(bool(one.error))
        if not one.error:
            begun[int(one.start)].append(one)
    rows = []
    for second in range(int(begins), math.ceil(ends)):
        first = summary(_after_start(begun[second], "first_byte"))
        rows.append(
            {
                "second": second,
                "answered": len(ended[second]) - sum(ended[second]),
                "errors": sum(ended[second]),
                "chunks": sum(part["seconds"].get(str(second), 0) for part in seen),
                "first_byte_p50_ms": first.get("p50", 0.0),
                "first_byte_p99_ms": first.get("p99", 0.0),
            }
        )
    return rows


def warnings(found: Figures) -> Iterable[str]:
    """Yield what makes the figures doubtful, in words for whoever reads them."""
    if found["generator_busy"] > _BUSY:
        share = f"{100 * found['generator_busy']:.0f} %"
        yield f"the load generator used {share} of its core: use more --processes, or trust less"
    if found["late_ms"].get("p99", 0.0) > _LATE_MS:
        late = found["late_ms"]["p99"]
        yield f"requests were sent up to {late:.1f} ms (p99) after they were due; it counts as wait"
    if not found["requests"]:
        yield "no request began in the window"
