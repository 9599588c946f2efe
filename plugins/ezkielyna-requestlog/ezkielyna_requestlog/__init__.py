"""One JSON line for every request, what its stream looked like included."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from click import Command
from pydantic import Field

from ezkielyna import Gateway, Plugin, PluginSettings, RequestContext, Watcher, hookimpl
from ezkielyna_requestlog.command import command
from ezkielyna_requestlog.files import RotatingFile
from ezkielyna_requestlog.lines import Seen, line

__all__ = ["RequestLog"]

FILE = Path("requestlog", "requests.jsonl")
"""Below the gateway's data folder."""

NOTE = "requestlog.seen"
MOST_WAITING = 10_000

logger = logging.getLogger(__name__)


class RequestLog(Plugin):
    """Writes a line when a request has ended; never lets a request wait for a disk."""

    class Settings(PluginSettings):
        """`[plugin.requestlog]`."""

        file: str = Field("", description="requestlog/requests.jsonl in the data folder when empty")
        max_bytes: int = Field(100 * 2**20, ge=1024, description="a file is rotated from there on")
        keep: int = Field(5, ge=1, le=1000, description="rotated files that are kept")

    settings: Settings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self._file: RotatingFile | None = None
        self._waiting: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self.dropped = 0

    @hookimpl
    def register_commands(self) -> list[Command]:
        """Offer `ezkielyna requestlog`."""
        return [command(self._path)]

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        """Open the file; a folder that cannot be written to stops the start-up."""
        self._file = RotatingFile(
            self._path(gateway.data), self.settings.max_bytes, self.settings.keep
        )

    @hookimpl
    def watch_stream(self, ctx: RequestContext) -> Watcher:
        """Look at every stream."""
        seen = ctx.notes[NOTE] = Seen()
        return seen.show

    @hookimpl
    async def after_request(self, ctx: RequestContext) -> None:
        """Put the line in the queue."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(line(ctx, ctx.notes.get(NOTE)))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    @hookimpl
    async def shutdown(self, gateway: Gateway) -> None:
        """Write what is waiting."""
        while self._writing is not None:
            await self._writing
        if self._file is not None:
            self._file.close()

    async def _write(self) -> None:
        """Write until nothing waits; in a thread, because a disk may take its time."""
        assert self._file is not None
        try:
            while self._waiting:
                lines, self._waiting = self._waiting, []
                await asyncio.to_thread(self._file.write, lines)
                if self.dropped:
                    logger.warning("the disk was too slow for %d lines", self.dropped)
                    self.dropped = 0
        except OSError as error:
            self._waiting.clear()
            logger.error("lines of the request log are lost: %s", error)
        finally:
            self._writing = None

    def _path(self, data: Path) -> Path:
        return Path(self.settings.file) if self.settings.file else data / FILE
