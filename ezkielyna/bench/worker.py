"""One process that sends. It reads its orders from standard input, one JSON object a line.

First `{"target": …, "headers": …, "seed": …, "index": …}`; then for every step `{"load": …}` and
`{"begins": …}`. It answers each with a line on standard output: `{"ready": true}`, and the last one
with `{"result": …}`, before which it tells its `{"progress": …}`. Keys are in the headers and
come this way so that no list of processes shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import orjson
import uvloop

from ezkielyna.bench.plan import Load, Target
from ezkielyna.bench.questions import Questions
from ezkielyna.bench.sending import Sender, closed, opened
from ezkielyna.wire.upstream import Upstream

_TOLD_EVERY_S = 0.2
_GRACE_S = 1.0
_MANY = 1_000_000
_LOSING_GIL_S = 0.0005
"""How long the interpreter lets one thread run; with its 5 ms the timekeeper would be late."""


def tell(**message: Any) -> None:
    """Write one line to the process that gave the order."""
    rest = memoryview(orjson.dumps(message) + b"\n")
    # Standard output may be unbuffered (PYTHONUNBUFFERED), and then one write need not take all.
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]


def tls(target: Target) -> ssl.SSLContext | None:
    """Return what checks certificates, None where none come; raises OSError for a bad `ca_file`.

    It takes a tenth of a second to make, which must not be a request's.
    """
    if not target.url.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=target.ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.asynccontextmanager
async def connections(target: Target, context: ssl.SSLContext | None) -> AsyncIterator[Upstream]:
    """Give a client with connections of its own, closed afterwards."""
    upstream = Upstream(
        proxy_from_environment=target.proxy, ssl_context=context, max_idle_per_origin=_MANY
    )
    try:
        yield upstream
    finally:
        await upstream.close()


async def step(
    target: Target,
    context: ssl.SSLContext | None,
    questions: Questions,
    load: Load,
    begins: float,
    seed: str,
) -> dict[str, Any]:
    """Do one step and return what was seen."""
    async with connections(target, context) as upstream:
        sender = Sender(upstream, questions, load, begins, target.timeout_s)
        telling = asyncio.create_task(_tell_progress(sender))
        cpu, since = time.process_time(), time.monotonic()
        try:
            if load.way == "closed":
                await closed(sender)
            else:
                await opened(sender, Random(seed))  # noqa: S311 - repeatable on purpose
            busy = (time.process_time() - cpu) / max(time.monotonic() - since, 1e-9)
            await sender.answered(target.timeout_s + _GRACE_S)
        finally:
            telling.cancel()
        return {**sender.tally.document(), "busy": busy}


async def _tell_progress(sender: Sender) -> None:
    while True:
        await asyncio.sleep(_TOLD_EVERY_S)
        tally = sender.tally
        try:
            tell(progress={"ended": tally.ended, "errors": tally.errors, "open": len(sender.open)})
        except BrokenPipeError:
            os._exit(1)  # whoever gave the order is gone: nobody wants this load any more


def main() -> None:
    """Obey until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()  # a collection would be counted as somebody's gap
    sys.setswitchinterval(_LOSING_GIL_S)
    orders = map(orjson.loads, sys.stdin.buffer)
    first = next(orders)
    target = Target(**{**first["target"], "prompts": tuple(first["target"]["prompts"])})
    context = tls(target)
    tell(ready=True)
    for number, order in enumerate(orders):
        seed = f"{first['seed']}/{first['index']}/{number}"
        questions = Questions(target, first["headers"], seed)
        tell(ready=True)
        load, begins = Load(**order["load"]), next(orders)["begins"]
        tell(result=uvloop.run(step(target, context, questions, load, begins, seed)))
        gc.collect()


if __name__ == "__main__":
    main()
