"""The table: figures down, gateways across; medians with minimum and maximum. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Rounds = Mapping[str, Mapping[str, Sequence[float]]]
"""By subject and figure: one value a round."""

OURS = "ours, llhttp, money"
MONEYLESS = "ours, llhttp, no money"
RELAY = "ours, llhttp, relay"

LOAD_LIMITED = 0.9
"""A gateway that used less of its core than this was not the limit of a closed loop."""

_NOTE = (
    "† load-limited: the gateway used less than 90 % of its core; load generator, upstream or\n"
    "  machine was the limit. Compare the CPU rows: a ratio to such a rate flatters the other side."
)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and how it is written; `busy` names the share of its core the gateway used."""

    title: str
    figure: str
    digits: int = 0
    busy: str = ""
    beside: str = ""  # the reference subject: the row shows a ratio to its median
    added: bool = False  # the row shows the difference to it instead
    only: str = ""  # the one subject that the row is for


ROWS = (
    Row("plain, 32 at once: requests/s", "plain_requests_s", busy="plain_busy"),
    Row("   times nginx", "plain_requests_s", 2, beside="nginx"),
    Row("   CPU a request, ms", "plain_cpu_ms", 3),
    Row("   CPU a request, times nginx", "plain_cpu_ms", 2, beside="nginx"),
    Row("   times the same without money", "plain_requests_s", 2, beside=MONEYLESS, only=OURS),
    Row("   CPU, times without money", "plain_cpu_ms", 2, beside=MONEYLESS, only=OURS),
    Row("   whole answer p99, ms", "plain_p99_ms", 1),
    Row("burst, 16 streams: chunks/s", "burst_chunks_s", busy="burst_busy"),
    Row("   times nginx", "burst_chunks_s", 2, beside="nginx"),
    Row("   CPU a chunk, µs", "burst_cpu_us", 2),
    Row('burst, "usage":null in each: chunks/s', "nulls_chunks_s", busy="nulls_busy"),
    Row("translated from Anthropic: chunks/s", "anthropic_chunks_s", busy="anthropic_busy"),
    Row("   CPU a chunk, µs", "anthropic_cpu_us", 2),
    Row("translated from Gemini: chunks/s", "gemini_chunks_s", busy="gemini_busy"),
    Row("   CPU a chunk, µs", "gemini_cpu_us", 2),
    Row("paced, 50 chunks/s a stream: CPU, %", "paced_cpu"),
    Row("   CPU a chunk, µs", "paced_cpu_us", 1),
    Row("   CPU a chunk, times nginx", "paced_cpu_us", 2, beside="nginx"),
    Row("   gap p99, ms", "paced_gap_p99_ms", 1),
    Row("   chunks delivered in time, %", "paced_delivered", 1),
    Row("first byte p50, ms", "first_p50_ms", 2),
    Row("   added to direct, ms", "first_p50_ms", 2, beside="direct", added=True),
    Row("first byte p99, ms", "first_p99_ms", 2),
    Row("   added to direct, ms", "first_p99_ms", 2, beside="direct", added=True),
    Row("slow streams alone: gap p99, ms", "fair_quiet_p99_ms", 1),
    Row("   beside one at full speed, ms", "fair_p99_ms", 1),
    Row("small page beside 32 requests: p99, ms", "lag_wait_p99_ms", 1),
    Row("small page beside 10 MiB bodies: p99, ms", "large_wait_p99_ms", 1),
    Row("   such bodies a second", "large_requests_s", 1),
    Row("start to listening, s", "start_s", 2),
    Row("memory idle, MiB", "memory_idle_mib", 1),
    Row("open streams", "memory_streams"),
    Row("   memory a stream, KiB", "memory_kib_stream", 1),
    Row("uneven load of workers, %", "balance", 1),
)


def render(subjects: Sequence[str], rounds: Rounds) -> str:
    """Return the table as text; rows without any figure are left out."""
    body = []
    for row in ROWS:
        cells = [_cell(row, name, rounds) for name in subjects]
        if any(cell != "-" for cell in cells):
            body.append([row.title, *cells])
    errors = [_errors(rounds.get(name, {})) for name in subjects]
    body.append(["errors", *errors])
    text = _aligned([["", *subjects], *body])
    return f"{text}\n\n{_NOTE}" if "†" in text else text


def spread(rounds: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    """Return median, minimum and maximum of every figure of every subject."""
    return {
        name: {
            figure: {"median": median(values), "min": min(values), "max": max(values)}
            for figure, values in found.items()
            if values
        }
        for name, found in rounds.items()
    }


def _cell(row: Row, name: str, rounds: Rounds) -> str:
    values = rounds.get(name, {}).get(row.figure)
    if not values:
        return "-"
    if row.beside:
        return _beside(row, name, median(values), rounds)
    text = f"{median(values):,.{row.digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{row.digits}f}..{max(values):,.{row.digits}f})"
    busy = rounds[name].get(row.busy)
    return f"{text} †" if busy and median(busy) < LOAD_LIMITED else text


def _beside(row: Row, name: str, value: float, rounds: Rounds) -> str:
    reference = rounds.get(row.beside, {}).get(row.figure)
    if not reference or name in (row.beside, "direct") or row.only not in ("", name):
        return "-"
    if row.added:
        return f"{value - median(reference):+.{row.digits}f}"
    return f"{value / median(reference):.{row.digits}f}" if median(reference) else "-"


def _errors(found: Mapping[str, Sequence[float]]) -> str:
    return f"{sum(sum(values) for name, values in found.items() if name.endswith('_errors')):.0f}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    written = []
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        written.append("  ".join([first, *rest]).rstrip())
    written.insert(1, "-" * max(map(len, written)))
    return "\n".join(written)
