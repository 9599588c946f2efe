"""A gateway on this event loop, for what is counted within it, and the upstream beside it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ezkielyna.app import App
from ezkielyna.plugins import load_plugins
from ezkielyna.server import bound_socket, drain, limits, wire_refusal
from ezkielyna.settings import Settings
from ezkielyna.storage.database import Database
from ezkielyna.wire.tornado_listener import listener

SECRET = b"a benchmark's secret of 32 bytes"

_ROOT = Path(__file__).parents[1]


@asynccontextmanager
async def served(settings: Settings, database: Database, data: Path) -> AsyncIterator[int]:
    """Serve on a free port of 127.0.0.1, and return the port."""
    app = App(settings, load_plugins(settings), database, data, SECRET)
    await app.start()
    server = listener("llhttp", app.router, limits(settings), refuse=wire_refusal)
    sock = bound_socket("127.0.0.1", 0)
    await server.start(sock)
    try:
        yield sock.getsockname()[1]
    finally:
        await drain(app, server, 0.0)
        await app.close()


@asynccontextmanager
async def scripted_upstream() -> AsyncIterator[str]:
    """Run the benchmarks' upstream as a process, which costs this one nothing; return its url."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.upstream", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield line.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        await process.wait()
