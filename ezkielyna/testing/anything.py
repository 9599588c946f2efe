"""Chats of every kind, right and wrong, through a whole gateway to an upstream that looks at them.

100 chats a run, always the same; `EZKIELYNA_SOAK=1` makes them 10,000, and others each time.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from ezkielyna.testing.clients import CHATS, samples
from ezkielyna.testing.dialect import JSON
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Line
from ezkielyna.testing.scripted import ScriptedUpstream, Turn

Document = dict[str, Any]
LONG = bool(os.environ.get("EZKIELYNA_SOAK"))
MANY = 10_000 if LONG else 100
LINES = 8


async def ask_anything(
    gateways: Gateways, kind: str, answer: bytes, check: Callable[[Document], None]
) -> None:
    """Assert that every chat is answered or refused with a 400 that says something.

    `check` asserts of a request's body that a provider of this kind could take it; `answer` is what
    the upstream says to all of them.
    """
    seen: Counter[int] = Counter()
    strange: list[str] = []

    async def script(turn: Turn) -> None:
        sent = orjson.loads(turn.request.body)
        try:
            check(sent)
        except (AssertionError, LookupError, TypeError, ValueError) as fault:
            strange.append(f"{fault!r} in {sent}")
        await turn.answer(200, JSON, answer)

    bodies = [{"model": "free-lab", **body} for body in samples(CHATS, MANY, same=not LONG)]
    tables: Document = {"plugins": ["openai", kind], "providers": {"lab": {"kind": kind}}}
    tables["plugins"] = list(dict.fromkeys(tables["plugins"]))
    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):

        async def ask(share: list[Document]) -> None:
            async with await Line.open(gateway.url) as line:
                for body in share:
                    got = await line.post(gateway.key, body)
                    seen[got.status] += 1
                    told = got.document.get("error", {})
                    if got.status not in (200, 400) or (told and not told["message"]):
                        strange.append(f"{got.status} {got.body.decode()} for {body}")

        await asyncio.gather(*(ask(bodies[at::LINES]) for at in range(LINES)))
    assert not strange, f"{len(strange)} of {len(bodies)}:\n" + "\n".join(strange[:20])
    assert seen[200] > len(bodies) * 0.05 < seen[400], seen
    print(f"{kind}: {seen[200]} answered, {seen[400]} refused")  # noqa: T201 - for the long run
