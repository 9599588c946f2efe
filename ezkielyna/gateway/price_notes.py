"""Price notes: a process that starts writes down which prices are new, for the price history."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from ezkielyna.contract.context import Model
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.price_changes import record

AGAIN_S = 15.0
"""How long until the next try while the database is away."""

log = logging.getLogger(__name__)


class PriceNotes:
    """Notes the catalogue's prices once, behind the requests, as soon as the database is there."""

    def __init__(self, database: Database, models: Mapping[str, Model]) -> None:
        self._database = database
        self._prices = {name: model.price for name, model in models.items()}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._note())

    async def close(self) -> None:
        """Stop; what is not noted is noted at the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _note(self) -> None:
        while True:
            try:
                await record(self._database, self._prices)
            except StorageError as error:
                log.info("prices are not noted yet: %s", error)
                await asyncio.sleep(AGAIN_S)
            else:
                return
