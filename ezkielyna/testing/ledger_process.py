"""A process with a ledger and nothing else, to be killed at a crash point.

Started by `armed.killed`, it recovers what it finds, serves requests of every kind, lets its lease
go idle and leaves; it meets every crash point on its way, those of recovery if there is something
to recover. Its diary `DATA/diary` has lines `request least most`: what a request may be charged
from then on; `least` -1 while nobody has to know of it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from ezkielyna.ledger.books import Ledger, Reservation, boot_clock
from ezkielyna.ledger.lease import IDLE_S
from ezkielyna.storage.driver import connect
from ezkielyna.testing.ledger import accepted, end, priced

SEGMENT = 80 * 1024
PRICE = 1_000
PLAIN = 160
HASTE = 40


class Diary:
    """What happened, in a file that survives the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, request: str, least: int, most: int) -> None:
        """Write what a request may be charged from now on; its last line counts."""
        os.write(self._file, f"{request} {least} {most}\n".encode())


class Visit:
    """The requests of one process; their ids begin with the process's."""

    def __init__(self, ledger: Ledger, diary: Diary, account: str) -> None:
        self._ledger = ledger
        self._diary = diary
        self._account = account

    async def begun(self, name: str, most: int) -> Reservation:
        """Begin a request."""
        request = f"{self._ledger.process}-{name}"
        self._diary.say(request, -1, 0)
        reservation = await self._ledger.reserve(accepted(self._account, request), most, most)
        self._diary.say(request, 0, 0)
        return reservation

    def ended(self, reservation: Reservation, cost: int) -> None:
        """End a request."""
        request = reservation.record.request_id
        self._diary.say(request, 0, cost)
        end(reservation, cost)
        self._diary.say(request, cost, cost)

    async def serve(self) -> None:
        """Serve a stream that stays open, a free request, one released, and many plain ones."""
        stream = await self.begun("stream", 3 * PRICE)
        self._diary.say(stream.record.request_id, 0, 2 * PRICE)
        stream.progress(*priced(2 * PRICE))
        self._diary.say(stream.record.request_id, 2 * PRICE, 2 * PRICE)
        self.ended(await self.begun("free", 0), 0)
        (await self.begun("released", PRICE)).release()
        for number in range(PLAIN):
            self.ended(await self.begun(f"plain_{number:0300}", PRICE), PRICE)
            if number % 80 == 0:
                await self._settled()
        await self._settled()
        self.ended(stream, 2 * PRICE)
        await self._settled()

    async def _settled(self) -> None:
        while self._ledger.backlog:
            await self._ledger.settle_some()

    async def rest(self) -> None:
        """Do nothing until idle money went back, then ask for some again."""
        await asyncio.sleep(IDLE_S / HASTE + 0.1)
        await self._ledger.tick()
        self.ended(await self.begun("late", 2 * PRICE), PRICE)
        await self._settled()


def hasty_clock() -> float:
    """Return a clock on which idle time passes quickly."""
    return boot_clock() * HASTE


async def main(url: str, name: str, data: Path, account: str) -> None:
    """Serve, rest, leave."""
    database = await connect(url, name)
    ledger = Ledger(database, data, clock=hasty_clock, segment=SEGMENT)
    await ledger.open()
    visit = Visit(ledger, Diary(data / "diary"), account)
    await visit.serve()
    await visit.rest()
    await ledger.close()
    await database.close()
