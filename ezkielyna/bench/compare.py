"""Two reports side by side: ratios, with the spread that the rounds of both allow. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ezkielyna.bench.report import Document

COMPARED = (
    "requests_s",
    "good_s",
    "chunks_s",
    "tokens_s",
    "error_share",
    "first_byte_ms.p50",
    "first_byte_ms.p99",
    "first_token_ms.p50",
    "first_token_ms.p99",
    "token_ms.p50",
    "gap_ms.p50",
    "gap_ms.p99",
    "total_ms.p50",
    "total_ms.p99",
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure of one step: the values of both, and the second divided by the first.

    `least` and `most` are the smallest and the largest quotient of any two rounds. They are the
    ratio itself where each report has one round: then nothing is known about its spread. Ratios
    are None where the first value is 0.
    """

    step: str
    figure: str
    first: float
    second: float
    ratio: float | None
    least: float | None
    most: float | None
    rounds: int
    """How many rounds the report with fewer of them has."""

    @property
    def certain(self) -> bool:
        """Whether all rounds of one are on the same side of all rounds of the other."""
        if self.least is None or self.most is None or self.rounds < 2:
            return False
        return not self.least <= 1 <= self.most


def name_of(load: dict[str, Any]) -> str:
    """Return the name of a step, the same for the same kind and amount of load."""
    amount = f"{load['amount']:g}"
    return f"{amount} at once" if load["way"] == "closed" else f"{amount} requests/s"


def ratios(first: Document, second: Document) -> Iterator[Ratio]:
    """Yield the ratios of all steps that both reports have, in the first one's order."""
    others = {name_of(step["load"]): step for step in second["steps"]}
    for step in first["steps"]:
        other = others.get(name_of(step["load"]))
        if other is None:
            continue
        for figure in COMPARED:
            if figure in step["figures"] and figure in other["figures"]:
                yield _ratio(step, other, figure)


def unmatched(first: Document, second: Document) -> list[str]:
    """Return the steps that only one of the reports has."""
    names = [{name_of(step["load"]) for step in one["steps"]} for one in (first, second)]
    return sorted(names[0] ^ names[1])


def _ratio(step: dict[str, Any], against: dict[str, Any], figure: str) -> Ratio:
    one, other = step["figures"][figure], against["figures"][figure]

    def over(value: float, base: float) -> float | None:
        return value / base if base else None

    return Ratio(
        name_of(step["load"]),
        figure,
        one["median"],
        other["median"],
        over(other["median"], one["median"]),
        over(other["min"], one["max"]),
        over(other["max"], one["min"]),
        min(len(step["rounds"]), len(against["rounds"])),
    )
