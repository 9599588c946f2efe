"""Tells accounts by mail that their balance is low."""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog

from ezkielyna.console.formats import money
from ezkielyna.mail.letters import Letter
from ezkielyna.mail.post import Post
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.notices import fallen

log = structlog.stdlib.get_logger("ezkielyna.console")

EVERY_S = 60.0


class Notices:
    """Looks once a minute; several processes may, each account is told by one."""

    def __init__(self, database: Database, post: Post, address: str) -> None:
        self._database = database
        self._post = post
        self._address = address
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop to look."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Write to every account that fell below its mark since the last look."""
        async for account in fallen(self._database):
            values = {
                "address": self._address,
                "balance": money(account.balance),
                "mark": money(account.mark),
                "link": f"{self._address}/billing",
            }
            letter = Letter(account.email, "low-balance", "Your balance is low", values)
            self._post.send(letter)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - spreads workers
            try:
                await self.look()
            except StorageError as error:
                log.warning("nobody could be told of a low balance", reason=str(error))
