"""What one request costs, from its quote to its bill: the gateway's side of the ledger.

A plain request reserves the most it may cost, clamped to what the money covers; a stream reserves
a first slice and extends it while it runs. At the end the bill rests on the upstream's usage, else
on what was delivered, counted with the model's vocabulary or estimated by size; nothing delivered,
nothing charged.
"""

from __future__ import annotations

import time

import orjson

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.context import Answer, RequestContext
from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.contract.money import NO_BILL, Bill, Nano, usd_json
from ezkielyna.contract.provider import Delivered, Exchange
from ezkielyna.contract.usage import Usage, chat_usage
from ezkielyna.gateway.counter import TokenCounter
from ezkielyna.gateway.counting import asked, said
from ezkielyna.gateway.spending import Spending
from ezkielyna.ledger import encoding
from ezkielyna.ledger.books import Ledger, Reservation
from ezkielyna.ledger.record import NO_USAGE, Outcome, UsageRecord

STREAM_SLICE = 1000
"""Output tokens that a stream reserves at first and at every extension."""

LEAST_STREAM_SLICE = 16
UNASKED = 1_000_000
WAIT = -1
EXTEND_AT = 0.8
ABSURD_FACTOR = 10
ABSURD_FLOOR = 10_000
"""Usage is absurd when it is more than ten times our count; small numbers are never absurd."""

BYTES_PER_TOKEN = 4
"""Of English text and common vocabularies; used only where nobody counted."""


class Charge:
    """The money of one request. `settle` is called exactly once, however the request ends.

    `spending` is the key's, where it has a limit: no more is reserved than the key has left.
    """

    __slots__ = (
        "_counter",
        "_ctx",
        "_last",
        "_policy",
        "_promised",
        "_reservation",
        "_short_key",
        "_spending",
        "record",
    )

    def __init__(
        self,
        ctx: RequestContext,
        policy: BillingPolicy,
        counter: TokenCounter,
        spending: Spending | None = None,
    ) -> None:
        self._ctx = ctx
        self._policy = policy
        self._counter = counter
        self._spending = spending
        self._promised = 0
        self._short_key = False
        self._last: tuple[Usage, Bill] | None = None
        self._reservation: Reservation | None = None
        self.record = UsageRecord(
            request_id=ctx.request_id,
            account=ctx.account.id,
            key=ctx.key.id,
            model=ctx.model.name,
            provider=ctx.model.provider,
            endpoint=ctx.endpoint,
            started_at=ctx.started_at,
            price_version=ctx.model.price.version,
        )

    def reserve_now(self, ledger: Ledger) -> bool:
        """Reserve the quote from memory; False where `reserve` has to, which may wait.

        Raises Unavailable.
        """
        if self._spending is None:
            ctx = self._ctx
            # A plain request reserves for all its output, which is how the context stands.
            streamed = ctx.request.streamed
            most = self._quote(self._first_output()) if streamed else self._policy.quote(ctx)
            self._reservation = ledger.reserve_now(self.record, most)
        return self._reservation is not None

    async def reserve(self, ledger: Ledger, given: Answer | None = None) -> None:
        """Reserve the quote, or what there is of it; for a plugin's answer what it costs.

        Raises InsufficientBalance or Unavailable.
        """
        if given is not None:
            cost = 0 if given.usage is None else self.cost(given.usage)
            await self._reserve(ledger, cost, cost)
            return
        ctx, first = self._ctx, self._first_output()
        some = LEAST_STREAM_SLICE if self._sliced else ctx.request.choices()
        most = self._quote(first)
        least = min(self._quote(min(ctx.output_bound, some)), most)
        reservation = await self._reserve(ledger, most, least)
        if reservation.amount < most and not ctx.request.streamed:
            covered = self._covered_output(reservation.amount, first)
            ctx.request.cap_output(max(1, covered))

    def priced(self, answer: Answer) -> bytes:
        """Begin with a plugin's answer; return its body with what it costs here."""
        self.begin()
        document = orjson.loads(answer.body)
        if isinstance(document.get("usage"), dict):
            cost = 0 if answer.usage is None else self.cost(answer.usage)
            document["usage"]["cost"] = usd_json(cost)
        return orjson.dumps(document)

    async def _reserve(self, ledger: Ledger, most: Nano, least: Nano) -> Reservation:
        if self._spending is None:
            self._reservation = await ledger.reserve(self.record, most, least)
        else:
            self._reservation = await self._reserve_limited(ledger, most, least, self._spending)
        return self._reservation

    @property
    def _sliced(self) -> bool:
        """True where the output is reserved slice by slice."""
        ctx = self._ctx
        return ctx.request.streamed and ctx.endpoint != "images.generations"

    def _first_output(self) -> int:
        """Return the output tokens to reserve at first."""
        ctx = self._ctx
        return min(ctx.output_bound, STREAM_SLICE) if self._sliced else ctx.output_bound

    async def _reserve_limited(
        self, ledger: Ledger, most: Nano, least: Nano, spending: Spending
    ) -> Reservation:
        """Reserve no more than the key has left; nobody else can have it in the meantime."""
        promised = spending.promise(least, most)
        try:
            reservation = await ledger.reserve(self.record, promised, least)
        except BaseException:
            spending.reduce(promised, 0)
            raise
        self._promised = spending.reduce(promised, reservation.amount)
        return reservation

    def allowance(self) -> int:
        """Return at which progress of a stream, in output tokens, to ask for more money."""
        assert self._reservation is not None
        covered = self._covered_output(self._reservation.amount, self._ctx.output_bound)
        return max(1, int(covered * EXTEND_AT))

    def spend(self, progress: int) -> int | None:
        """Reserve the next slice of a stream; return when to ask again, None: the money ended.

        WAIT says that the account is being asked for more: deliver nothing until the answer.
        """
        reservation = self._reservation
        assert reservation is not None
        if not self._quote(progress + UNASKED):
            return progress + UNASKED
        target = progress + STREAM_SLICE
        wanted = self._quote(target)
        extended = self._extend(wanted)
        if extended and reservation.amount >= wanted:
            return progress + int(STREAM_SLICE * EXTEND_AT)
        covered = self._covered_output(reservation.amount, target)
        if covered > progress:
            return covered
        return WAIT if extended or self._extend(wanted) else None

    def _extend(self, wanted: Nano) -> bool:
        assert self._reservation is not None
        if self._spending is None:
            return self._reservation.extend(wanted)
        self._promised = self._spending.extend(self._promised, wanted)
        self._short_key = self._promised < wanted
        return self._reservation.extend(self._promised) and not self._short_key

    def ended(self) -> InsufficientBalance:
        """Return the error for a stream whose money ended."""
        if self._spending is not None and self._short_key:
            return InsufficientBalance(
                f"{self._spending.explanation} What was delivered is billed."
            )
        return InsufficientBalance(
            "Your balance ended during this answer; what was delivered is billed. Top up to go on."
        )

    def note(self, exchange: Exchange, progress: int) -> None:
        """Tell the journal how far a stream is, so that a crash loses no second of it."""
        assert self._reservation is not None
        usage = exchange.usage or Usage(
            input=self._ctx.input_estimate, output=progress, source="estimated"
        )
        self._reservation.progress(usage, self._bill(usage))

    def cost(self, usage: Usage) -> Nano:
        """Return what this usage costs; exchanges show it beside the usage."""
        return self._bill(usage).cost

    async def completed(self, answer: bytes, exchange: Exchange) -> bytes:
        """Return a plain answer with the usage that its upstream left out, counted or estimated.

        The bytes stay as they are where they are no JSON object.
        """
        try:
            document = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return answer
        if not isinstance(document, dict):
            return answer
        spoken = said(document)
        exchange.usage = usage = await self.counted(spoken) or self._estimate(spoken, answer)
        shown = chat_usage(usage)
        document["usage"] = {**shown, "cost": usd_json(self.cost(usage))}
        return orjson.dumps(document)

    def begin(self) -> None:
        """Note the first byte to the client."""
        self.record.first_byte_at = time.time()

    def reported(self, exchange: Exchange) -> Usage | None:
        """Return what the upstream reported; None where that is nothing, or flagged as absurd."""
        usage = exchange.usage
        if usage is not None and self._absurd(usage, exchange):
            self.record.flags.append("absurd_usage")
            return None
        return usage

    def estimated(self, delivered: Delivered, outcome: Outcome) -> Usage | None:
        """Return the usage by size; None where nothing was delivered, so nothing is charged."""
        return None if delivered.empty and outcome != "ok" else self._estimate(delivered)

    async def counted(self, delivered: Delivered) -> Usage | None:
        """Return the usage by the model's vocabulary; None where it has none or cannot count."""
        ctx = self._ctx
        if not ctx.model.vocabulary or ctx.endpoint == "images.generations":
            return None
        texts, more = asked(ctx.request)
        groups = (texts, (delivered.text, delivered.tools), (delivered.reasoning,))
        counts = await self._counter.count(ctx.model.vocabulary, groups)
        if counts is None:
            return None
        read, spoken, thought = counts
        read = min(read + more, ctx.input_bound)
        return Usage(input=read, output=spoken, reasoning=thought, source="counted")

    def end(self, usage: Usage) -> bytes:
        """Return what the journal will say, should this request end well with this usage now."""
        self._complete("ok", 200, usage)
        return encoding.end(self.record)

    def settle(self, outcome: Outcome, status: int, usage: Usage | None) -> None:
        """Complete the record and hand it to the ledger; without usage nothing is charged."""
        self._complete(outcome, status, usage)
        record = self.record
        if self._spending is not None:
            self._spending.end(self._promised, record.bill.cost, record.started_at)
        if self._reservation is not None:
            self._reservation.settle()

    def _complete(self, outcome: Outcome, status: int, usage: Usage | None) -> None:
        record = self.record
        record.ended_at = time.time()
        record.outcome, record.status = outcome, status
        if usage is None:
            record.usage, record.bill = NO_USAGE, NO_BILL
        else:
            record.usage, record.bill = usage, self._bill(usage)

    def _absurd(self, usage: Usage, exchange: Exchange) -> bool:
        if not usage.plausible:
            return True
        ctx = self._ctx
        tokens_in, tokens_out = usage.totals()
        if tokens_in > max(ctx.input_bound, ctx.model.context) * ABSURD_FACTOR:
            return True
        if tokens_out <= max(ctx.output_bound * ABSURD_FACTOR, ABSURD_FLOOR):
            return False
        return tokens_out > _tokens(exchange.delivered()) * ABSURD_FACTOR

    def _estimate(self, delivered: Delivered, answer: bytes = b"") -> Usage:
        """Return the usage by sizes: of the delivered text, else of the whole answer."""
        output = _tokens(delivered)
        if delivered.empty and self._ctx.endpoint in ("chat.completions", "completions"):
            output = len(answer) // BYTES_PER_TOKEN
        return Usage(
            input=self._ctx.input_estimate,
            output=output,
            images=self._ctx.request.choices() if self._ctx.endpoint == "images.generations" else 0,
            source="estimated",
        )

    def _bill(self, usage: Usage) -> Bill:
        if self._last is None or self._last[0] is not usage:
            self._last = usage, self._policy.price(self._ctx, usage)
        return self._last[1]

    def _quote(self, output: int) -> Nano:
        """Return the quote as if `output` were the most the answer can have."""
        ctx = self._ctx
        bound, ctx.output_bound = ctx.output_bound, output
        try:
            return self._policy.quote(ctx)
        finally:
            ctx.output_bound = bound

    def _covered_output(self, amount: Nano, most: int) -> int:
        """Return the largest output, up to `most`, whose quote the amount covers."""
        low, high = 0, most
        if self._quote(high) <= amount:
            return high
        while low < high:
            middle = (low + high + 1) // 2
            if self._quote(middle) <= amount:
                low = middle
            else:
                high = middle - 1
        return low


def _tokens(delivered: Delivered) -> int:
    size = len(delivered.text) + len(delivered.reasoning) + len(delivered.tools)
    return -(-size // BYTES_PER_TOKEN)
