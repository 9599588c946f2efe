"""The contract suite, on a markup with tiers."""

from __future__ import annotations

from ezkielyna.testing import BillingPolicyContract
from ezkielyna_markup import MarkupPolicy


class TestMarkup(BillingPolicyContract):
    policy = MarkupPolicy
    settings = {"percent": 20, "per_million": "0.05", "tiers": [{"tokens": 50_000, "percent": 5}]}


class TestPlain(BillingPolicyContract):
    policy = MarkupPolicy
