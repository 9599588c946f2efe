"""May this request run: what the plan and the key allow, and what the limits have left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext, covers
from ezkielyna.contract.errors import EmailNotVerified, ModelNotAllowed
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.usage import Usage
from ezkielyna.gateway.durations import duration


class Admitted:
    """A permit that is held; `usage` is set by whoever learns what was consumed."""

    __slots__ = ("permit", "usage")

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.usage: Usage | None = None


class Admission:
    """Checks plans and keys, and asks the plan's limiter."""

    def __init__(
        self,
        plans: Mapping[str, Plan],
        default_plan: str,
        limiters: Mapping[str, RateLimiter],
        *,
        require_verified_email: bool,
    ) -> None:
        self._plans = plans
        self._default = plans[default_plan]
        self._limiters = limiters
        self._require_verified_email = require_verified_email

    def plan(self, account: Account) -> Plan:
        """Return the account's plan; the default one where the configuration dropped it."""
        return self._plans.get(account.plan, self._default)

    def allow(self, account: Account, key: Key, plan: Plan, model: Model) -> None:
        """Raise EmailNotVerified or ModelNotAllowed for what may not be used."""
        if self._require_verified_email and not account.verified:
            raise EmailNotVerified(
                "Verify your e-mail address first: the link is in the mail we sent at sign-up."
            )
        if not plan.allows(model.name):
            raise ModelNotAllowed(
                f"Your plan '{plan.name}' does not include the model '{model.name}'.", param="model"
            )
        if key.models and not covers(key.models, model.name):
            raise ModelNotAllowed(
                f"This API key is not allowed to use the model '{model.name}'.", param="model"
            )

    @asynccontextmanager
    async def permit(self, ctx: RequestContext) -> AsyncIterator[Admitted]:
        """Hold a permit of the plan's limiter; raises RateLimited, its standing included."""
        admitted = Admitted(await self._limiters[ctx.plan.limiter].admit(ctx))
        try:
            yield admitted
        finally:
            await admitted.permit.close(admitted.usage)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left of the limits, counting nothing."""
        return self._limiters[plan.limiter].standing(account, key, plan)


def standing_headers(standing: Standing) -> list[tuple[str, str]]:
    """Return OpenAI's six rate headers, as far as there are limits."""
    headers: list[tuple[str, str]] = []
    if standing.limit_requests is not None:
        headers += [
            ("x-ratelimit-limit-requests", str(standing.limit_requests)),
            ("x-ratelimit-remaining-requests", str(standing.remaining_requests)),
            ("x-ratelimit-reset-requests", duration(standing.reset_requests_s)),
        ]
    if standing.limit_tokens is not None:
        headers += [
            ("x-ratelimit-limit-tokens", str(standing.limit_tokens)),
            ("x-ratelimit-remaining-tokens", str(standing.remaining_tokens)),
            ("x-ratelimit-reset-tokens", duration(standing.reset_tokens_s)),
        ]
    return headers
