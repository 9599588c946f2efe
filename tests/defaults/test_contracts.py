"""The contract suites, on our own defaults."""

from __future__ import annotations

from ezkielyna.defaults import MemoryLimiter
from ezkielyna.defaults.per_token import PerToken
from ezkielyna.testing import BillingPolicyContract, RateLimiterContract


class TestMemory(RateLimiterContract):
    limiter = MemoryLimiter


class TestPerToken(BillingPolicyContract):
    policy = PerToken
