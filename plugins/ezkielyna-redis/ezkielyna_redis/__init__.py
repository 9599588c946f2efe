"""Rate limiter of kind `redis`: limits that every process and machine shares."""

from __future__ import annotations

from ezkielyna import RateLimiter, hookimpl
from ezkielyna_redis.limiter import RedisLimiter

__all__ = ["RedisLimiter", "register_rate_limiters"]


@hookimpl
def register_rate_limiters() -> list[type[RateLimiter]]:
    """Offer the kind `redis`."""
    return [RedisLimiter]
