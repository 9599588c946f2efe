"""A scripted upstream in the test's process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from benchmarks.upstream import Upstream

Serving = Callable[..., contextlib.AbstractAsyncContextManager[str]]


@contextlib.asynccontextmanager
async def _serving(connection: type[asyncio.Protocol] | None = None) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    make = connection or Upstream(loop).connection
    made: list[asyncio.Protocol] = []

    def accepted() -> asyncio.Protocol:
        made.append(make())
        return made[-1]

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await asyncio.sleep(0.05)  # connections that the load dropped are seen here
        for one in made:  # and on a busy machine not even those
            transport = getattr(one, "_transport", None) or getattr(one, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)


@pytest.fixture
def serving() -> Serving:
    """Return what serves: `serving()` the scripts, `serving(protocol)` another protocol."""
    return _serving
