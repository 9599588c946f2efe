"""The contract suite, on limits in Redis."""

from __future__ import annotations

import pytest

from ezkielyna import RateLimiter
from ezkielyna.testing import RateLimiterContract
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna_redis import RedisLimiter


class TestRedis(RateLimiterContract):
    limiter = RedisLimiter

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        redis_server.command("FLUSHALL")
        self.url = redis_server.url

    def make(self) -> RateLimiter:
        return RedisLimiter.build(1, self.url)
