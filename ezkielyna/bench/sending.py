"""The two ways of load: a closed loop keeps requests open, an open loop sends when they are due."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from random import Random

from ezkielyna.bench.answer import Answer
from ezkielyna.bench.plan import Load
from ezkielyna.bench.questions import Question, Questions
from ezkielyna.bench.tally import Record, Tally
from ezkielyna.contract.provider import TimeLimits
from ezkielyna.wire.upstream import Call, Upstream

_PAUSE_S = 0.1
"""A closed loop pauses so long after a connection failed: a server that is gone refuses at once."""


class Sender:
    """Sends requests and knows those that are open. `begins` is on the monotonic clock."""

    def __init__(
        self, upstream: Upstream, questions: Questions, load: Load, begins: float, timeout_s: float
    ) -> None:
        self.load = load
        self.begins = begins
        opens = begins + load.before_s
        closes = math.inf if load.requests else opens + load.duration_s
        self.tally = Tally(opens, closes)
        self.open: dict[Answer, Call] = {}
        self.full = asyncio.Event()  # as many requests as were wanted have been sent
        self.then: Callable[[bool], None] = lambda well: None
        """Called when a request has ended; with False where its connection failed."""
        self._upstream = upstream
        self._questions = questions
        self._limits = TimeLimits(
            connect_s=timeout_s, first_byte_s=timeout_s, idle_s=timeout_s, total_s=timeout_s
        )
        self._next: Question = questions.draw()
        self._counted = 0

    @property
    def wanted(self) -> bool:
        """Whether another request is to be sent."""
        return not self.full.is_set() and time.monotonic() < self.tally.closes

    def send(self, due: float) -> None:
        """Send the next request, which was due at this time."""
        question = self._next
        answer = Answer(self.tally, due, question.input_tokens, self._over)
        self.open[answer] = self._upstream.start(question.request, self._limits, answer)
        self._note(due)
        self._next = self._questions.draw()  # while the answer is awaited, not before it is due

    def _note(self, due: float) -> None:
        """Note a request of the window, sent or not."""
        if self.load.requests and due >= self.tally.opens:
            self._counted += 1
            if self._counted == self.load.requests:
                self.full.set()

    def _over(self, answer: Answer, well: bool) -> None:
        self.open.pop(answer, None)
        self.then(well)

    def skip(self, due: float) -> None:
        """Count a request that was due and not sent, for too many are open."""
        now = time.monotonic()
        reason = f"not sent: {self.load.max_open} requests are open"
        opens = self.tally.opens
        times = (due - opens, now - opens, None, None, now - opens)
        self.tally.request(Record(*times, 0, 0, 0, 0, 0.0, None, reason))
        self._note(due)

    async def window(self) -> None:
        """Return when the window closes."""
        if self.load.requests:
            await self.full.wait()
        else:
            await asyncio.sleep(max(0.0, self.tally.closes - time.monotonic()))

    async def answered(self, seconds: float) -> None:
        """Wait for the open requests; count those that are not answered in time as errors."""
        until = time.monotonic() + seconds
        while self.open and time.monotonic() < until:  # noqa: ASYNC110 - no event a request
            await asyncio.sleep(0.02)
        for answer, call in list(self.open.items()):
            call.abort()
            answer.cut("not answered in time")
        self.open.clear()


async def closed(sender: Sender) -> None:
    """Keep `amount` requests open: the next one goes out when an answer has ended."""
    loop = asyncio.get_running_loop()

    def again(well: bool = True) -> None:
        if not well:
            loop.call_later(_PAUSE_S, again)
        elif sender.wanted:
            # A timer may ring a fraction of its millisecond early.
            sender.send(max(time.monotonic(), sender.begins))

    sender.then = again
    slots = int(sender.load.amount)
    start = loop.time() + sender.begins - time.monotonic()
    for slot in range(slots):
        loop.call_at(start + sender.load.ramp_s * slot / slots, again)
    await sender.window()


async def opened(sender: Sender, random: Random) -> None:
    """Send requests when they are due, whatever became of the others.

    A request's time runs from when it was due, so that a server which stalls is charged for the
    requests that had to wait meanwhile (no coordinated omission).
    """
    loop = asyncio.get_running_loop()
    times = due_times(sender.load, random)
    stop = threading.Event()

    def fire(due: float) -> None:
        if not sender.wanted or stop.is_set():
            return
        if len(sender.open) >= sender.load.max_open:
            sender.skip(due)
        else:
            sender.send(due)

    keeper = threading.Thread(target=_keep_time, args=(loop, sender.begins, times, fire, stop))
    keeper.start()
    try:
        await sender.window()
    finally:
        stop.set()
        await asyncio.to_thread(keeper.join)


def _keep_time(
    loop: asyncio.AbstractEventLoop,
    begins: float,
    times: Iterator[float],
    fire: Callable[[float], None],
    stop: threading.Event,
) -> None:
    """Call `fire` on the loop when a request is due; the loop's own timers know milliseconds."""
    for at in times:
        while (wait := begins + at - time.monotonic()) > 0:
            time.sleep(min(wait, _PAUSE_S))
            if stop.is_set():
                return
        if stop.is_set():
            return
        loop.call_soon_threadsafe(fire, begins + at)


def due_times(load: Load, random: Random) -> Iterator[float]:
    """Yield when requests are due, in seconds after the beginning; without an end.

    During the ramp the rate grows evenly from nothing. Arrivals are a Poisson process, or evenly
    spaced in its place.
    """
    passed = 0.0  # the expected number of requests so far
    half = load.ramp_s / 2
    while True:
        passed += random.expovariate(1) if load.arrivals == "poisson" else 1.0
        even = passed / load.amount
        yield even + half if even >= half else math.sqrt(2 * load.ramp_s * even)
