"""A process that takes slots and holds them until it is killed.

`python holder.py URL HOLD_S CONCURRENCY` prints how many it got of all that the plan has.
"""

from __future__ import annotations

import asyncio
import sys

from ezkielyna import (
    Account,
    ChatRequest,
    Key,
    Model,
    Plan,
    Price,
    RateLimited,
    RequestContext,
)
from ezkielyna_redis import RedisLimiter, link

link.LIMIT_S = 5.0
"""The machine may be busy: what is asked here is who has slots, not how quickly."""


async def main(url: str, hold_s: float, concurrency: int) -> None:
    limiter = RedisLimiter(1, url, hold_s=hold_s)
    await limiter.start()
    ctx = RequestContext(
        request_id="req_1",
        endpoint="chat.completions",
        request=ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}]),
        account=Account("acc_1", "a@b.c", "p"),
        key=Key("key_1", "acc_1", "k"),
        plan=Plan("p", concurrency=concurrency),
        model=Model("m", "p", "m", Price("v", {"input": 0, "output": 0}), 0, 0, "o", "M"),
        started_at=0.0,
    )
    permits = []
    for _ in range(concurrency):
        try:
            permits.append(await limiter.admit(ctx))
        except RateLimited:
            break
    print(len(permits), flush=True)
    await asyncio.sleep(600)


asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
