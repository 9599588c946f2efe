"""May this request run: what the plan and the key allow, and what the limits have left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext, covers
from ezkielyna.contract.errors import EmailNotVerified, ModelNotAllowed
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.usage import Usage
from ezkielyna.gateway.authentication import Identity


class Admitted:
    """A permit, asked for on entry and closed on exit; raises RateLimited on entry.

    `usage` is set by whoever learns what was consumed.
    """

    __slots__ = ("_ctx", "_limiter", "permit", "usage")

    def __init__(self, limiter: RateLimiter, ctx: RequestContext) -> None:
        self._limiter = limiter
        self._ctx = ctx
        self.permit: Permit
        self.usage: Usage | None = None

    async def __aenter__(self) -> Self:
        self.permit = await self._limiter.admit(self._ctx)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.permit.close(self.usage)


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

    def allow(self, account: Account, key: Key, model: Model) -> Plan:
        """Return the account's plan; raises EmailNotVerified or ModelNotAllowed."""
        plan = self.plan(account)
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
        return plan

    def permit(self, ctx: RequestContext) -> Admitted:
        """Return the permit of the plan's limiter, to be held by `async with`."""
        return Admitted(self._limiters[ctx.plan.limiter], ctx)

    def standing_of(self, identity: Identity) -> Standing:
        """Return what is left of an account's and a key's limits, counting nothing."""
        account, key = identity.account, identity.key
        plan = self.plan(account)
        return self._limiters[plan.limiter].standing(account, key, plan)
