"""Activity: every request, newest first, and one of them with its bill line by line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tornado.web import HTTPError

from ezkielyna.console.charts.usage import NONE, OUTCOME_NAMES, milliseconds
from ezkielyna.console.handlers.usage import value_names
from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.money import TOKENS_PER_RATE, Nano, usd
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.ledger.periods import DAY, hour, midnight, tomorrow
from ezkielyna.ledger.settlement import NO_ERRORS
from ezkielyna.storage.requests import Place, Sought, one, page

SIZE = 50
DAYS = 30
FAILED = tuple(name for name in OUTCOME_NAMES if name not in NO_ERRORS)
CLOCKS = timedelta(minutes=1)
"""How far another process's clock may be ahead."""

LONGEST = 256
"""Letters of a filter; longer ones match nothing anyway."""

FIELDS = ("model", "key", "status", "first", "last")


class Activity(AccountPage):
    """The list, with filters in the address; an id leads straight to its request."""

    async def get(self) -> None:
        """Show a page of the list."""
        asked = {name: self._asked(name) for name in FIELDS}
        wanted = self._asked("id")
        if wanted and await one(self.console.database, self.account.id, wanted):
            self.see_other(f"/activity/{wanted}")
            return
        found: list[dict[str, Any]] = []
        after = Place.of(self._asked("after"))
        if not wanted:
            sought = self._sought(asked)
            found = await page(self.console.database, self.account.id, sought, SIZE + 1, after)
        shown = found[:SIZE]
        more = None
        if len(found) > SIZE:
            more = Place(shown[-1]["started_at"], shown[-1]["_id"])
        self.render(
            "activity.html",
            title="Activity",
            styles=("charts.css",),
            scripts=("live.js", "drawer.js"),
            asked=asked,
            wanted=wanted,
            filtered=bool(wanted or any(asked.values())),
            keys=await value_names(self, "key"),
            models=sorted({*self.console.models, asked["model"]} - {""}),
            outcomes=OUTCOME_NAMES,
            requests=shown,
            newest=_link(asked) if after else "",
            older=_link({**asked, "after": str(more)}) if more else "",
        )

    def _asked(self, name: str) -> str:
        return self.get_query_argument(name, "")[:LONGEST]

    def _sought(self, asked: dict[str, str]) -> Sought:
        now = datetime.now(UTC)
        try:
            last = midnight(hour(asked["last"], "last")) + DAY if asked["last"] else tomorrow(now)
            first = hour(asked["first"], "first") if asked["first"] else last - DAYS * DAY
            last = min(last, now + CLOCKS)
        except InvalidRequest as error:
            raise HTTPError(400, reason=error.message) from None
        status = asked["status"]
        outcomes = FAILED if status == "failed-any" else (status,) if status else ()
        return Sought(first, last, asked["model"], asked["key"], outcomes)


class Request(AccountPage):
    """One request: what was used, what it cost and why, and what was tried."""

    async def get(self, request_id: str) -> None:
        """Show it; a request of another account is not there."""
        found = await one(self.console.database, self.account.id, request_id)
        if found is None:
            raise HTTPError(404, reason="There is no such request")
        keys = await value_names(self, "key")
        self.render(
            "request.html",
            title=f"Request {request_id}",
            styles=("charts.css",),
            request=found,
            key_name=keys.get(found["key"], found["key"]),
            outcome=OUTCOME_NAMES.get(found["outcome"], found["outcome"]),
            failed=found["outcome"] not in NO_ERRORS,
            source=SOURCES.get(found["source"], found["source"]),
            unbilled=[
                (BUCKET_NAMES[bucket], int(found["tokens"].get(bucket, 0)))
                for bucket in BUCKETS
                if found["tokens"].get(bucket) and not _billed(found, bucket)
            ],
        )


SOURCES = {
    "upstream": "the provider's own numbers",
    "counted": "counted by us from what was delivered, because the provider sent no usable numbers",
    "estimated": "estimated by us from sizes, because the provider sent no usable numbers",
}
BUCKET_NAMES = {
    "input": "input tokens",
    "cached_input": "input tokens read from the cache",
    "cache_write": "input tokens written to the cache",
    "output": "output tokens",
    "reasoning": "reasoning tokens",
    "audio_in": "audio tokens in",
    "audio_out": "audio tokens out",
    "images": "images",
}


def _billed(document: dict[str, Any], bucket: str) -> bool:
    return any(line["bucket"] == bucket for line in document["bill"])


def _link(words: dict[str, str]) -> str:
    said = {name: text for name, text in words.items() if text}
    return f"/activity?{urlencode(said)}" if said else "/activity"


def rate_words(bucket: str, rate: int) -> str:
    """Return a rate as people compare it: USD per million tokens, or a piece."""
    return f"${usd(rate)} each" if bucket == "images" else f"${usd(rate)} per million"


def line_product(line: dict[str, Any]) -> str:
    """Return a bill line's exact product, before the one rounding of the bill."""
    exact = int(line["quantity"]) * int(line["rate"])
    scale = 1 if line["bucket"] == "images" else TOKENS_PER_RATE
    whole, rest = divmod(exact, scale)
    digits = f"{rest / scale:.6f}".partition(".")[2].rstrip("0") if rest else ""
    return f"${usd(whole, 9)}{digits}"


def since(start: datetime, moment: datetime | None) -> str:
    """Return how long after the start something happened; a dash for what did not."""
    if moment is None:
        return NONE
    return milliseconds(round((moment - start) / timedelta(milliseconds=1)))


def all_tokens(document: dict[str, Any]) -> int:
    """Return all tokens of a request; images are no tokens."""
    return sum(int(n) for bucket, n in document["tokens"].items() if bucket != "images")


def nano_exact(amount: Nano) -> str:
    """Return an amount to the nano, with its sign of currency."""
    return f"${usd(int(amount), 2)}"


TOPIC = Topic(
    routes=((r"/activity", Activity), (r"/activity/(req_[\w-]{1,80})", Request)),
    menu=(Entry(14, "Activity", "/activity", "list"),),
    names={
        "all_tokens": all_tokens,
        "bucket_names": BUCKET_NAMES,
        "failures": frozenset(FAILED),
        "line_product": line_product,
        "nano_exact": nano_exact,
        "outcome_names": OUTCOME_NAMES,
        "rate_words": rate_words,
        "since": since,
    },
)
