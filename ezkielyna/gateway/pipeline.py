"""The life of one request, top to bottom.

authenticate → understand → admit → reserve → attempt → relay → settle

Every step that must be undone is an `async with`, so refusal, failure, client gone and success
unwind by themselves. Nothing here waits for the database while keys are cached and money is
leased.
"""

from __future__ import annotations

import asyncio
import time

from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.errors import GatewayError, Unavailable, UpstreamError
from ezkielyna.contract.provider import Exchange, Provider
from ezkielyna.contract.requests import LARGE_BODY, REQUESTS, Endpoint
from ezkielyna.gateway.admission import Admission, Admitted
from ezkielyna.gateway.authentication import Authentication, Identity
from ezkielyna.gateway.call import Call
from ezkielyna.gateway.catalogue import Catalogue
from ezkielyna.gateway.charge import Charge
from ezkielyna.gateway.counter import TokenCounter
from ezkielyna.gateway.estimate import bound_tokens
from ezkielyna.gateway.heartbeat import Heartbeat
from ezkielyna.gateway.hooks import RequestHooks, Watching
from ezkielyna.gateway.idempotency import Claim, Idempotency, check, replay
from ezkielyna.gateway.relay import PlainRelay, StreamRelay
from ezkielyna.gateway.reply import Reply
from ezkielyna.gateway.routing import Routing, note
from ezkielyna.gateway.settled import Settled
from ezkielyna.ledger.books import Ledger
from ezkielyna.wire.upstream import Upstream


class Pipeline:
    """Serves the endpoints that cost money."""

    def __init__(
        self,
        authentication: Authentication,
        catalogue: Catalogue,
        admission: Admission,
        ledger: Ledger,
        routing: Routing,
        upstream: Upstream,
        heartbeat: Heartbeat,
        idempotency: Idempotency,
        counter: TokenCounter,
        hooks: RequestHooks | None,
    ) -> None:
        self._authentication = authentication
        self._catalogue = catalogue
        self._admission = admission
        self._ledger = ledger
        self._routing = routing
        self._upstream = upstream
        self._heartbeat = heartbeat
        self._idempotency = idempotency
        self._counter = counter
        self._hooks = hooks
        self.draining = False

    async def serve(self, endpoint: Endpoint, call: Call) -> None:
        """Serve one request to its end; raises GatewayError as long as nothing was sent."""
        if self.draining:
            raise Unavailable("This server is about to stop. Try again.", retry_after_s=1)
        head, authentication = call.head, self._authentication
        identity = authentication.known(head.credential)
        if identity is None:
            identity = await authentication.identify(head.credential, call)
        try:
            ctx = self._understand(endpoint, call, identity)
        except GatewayError:
            call.reply.add_lines(self._admission.standing_of(identity).lines())
            raise
        if len(call.body) > LARGE_BODY:
            await asyncio.sleep(0)  # it took milliseconds, and so will the translation
        if self._hooks is not None:
            self._hooks.follow(ctx, call)
        async with self._admission.permit(ctx) as admitted:
            call.reply.add_lines(admitted.permit.standing.lines())
            policy = self._catalogue.policies[ctx.plan.billing]
            charge = Charge(ctx, policy, self._counter, identity.spending)
            if head.idempotency_key is None:
                answer = await self._charged(ctx, call.reply, charge, admitted)
                if answer is None:
                    call.reply.finish()  # the stream that was pushed already
                else:
                    call.reply.answer(answer)
            else:
                await self._once(ctx, head.idempotency_key, call.reply, charge, admitted)

    async def _charged(
        self,
        ctx: RequestContext,
        reply: Reply,
        charge: Charge,
        admitted: Admitted,
        claim: Claim | None = None,
    ) -> bytes | None:
        """Reserve, attempt, keep for the claim if there is one, settle; return a plain answer."""
        given = None
        if self._hooks is not None:
            given = await self._hooks.before(ctx, reply, charge.record)
        if given is not None or not charge.reserve_now(self._ledger):
            await charge.reserve(self._ledger, given)
        async with Settled(charge, admitted) as settled:
            if given is None:
                answer = await self._attempt(ctx, reply, charge, settled)
            else:
                settled.usage, answer = given.usage, charge.priced(given)
            if self._hooks is not None and answer is not None:
                self._hooks.answered(ctx, answer)
            if claim is not None and answer is not None:
                await settled.keep(claim, answer)
            return answer
        return None

    async def _once(
        self, ctx: RequestContext, key: str, reply: Reply, charge: Charge, admitted: Admitted
    ) -> None:
        """Answer a plain request that has a key of its own; an equal one came before, or not."""
        limits = self._catalogue.providers[ctx.model.provider].settings.time_limits
        async with self._idempotency.claim(ctx, key, limits.total_s) as claim:
            if claim.kept is not None:
                replay(reply, claim.kept)
                return
            answer = await self._charged(ctx, reply, charge, admitted, claim)
            assert answer is not None  # claims are for plain requests
            reply.answer(answer)

    def _understand(self, endpoint: Endpoint, call: Call, identity: Identity) -> RequestContext:
        """Return the context of a request that is well-formed and allowed."""
        request = REQUESTS[endpoint].parse(call.body)
        idempotency_key = call.head.idempotency_key
        if idempotency_key is not None:
            check(idempotency_key, request)
        model = self._catalogue.model(request.model)
        plan = self._admission.allow(identity.account, identity.key, model)
        ctx = RequestContext(
            request_id=call.reply.request_id,
            endpoint=endpoint,
            request=request,
            account=identity.account,
            key=identity.key,
            plan=plan,
            model=model,
            started_at=time.time(),
        )
        bound_tokens(ctx)
        return ctx

    async def _attempt(
        self, ctx: RequestContext, reply: Reply, charge: Charge, settled: Settled
    ) -> bytes | None:
        """Try upstreams in order until one answered; return a plain answer's body.

        Nothing was sent to the client as long as another attempt may follow.
        """
        if ctx.model.provider in self._routing.needy:
            await self._routing.provide(ctx.model, ctx.request)
        watching = None
        if self._hooks is not None and ctx.request.streamed:
            watching = self._hooks.watching(ctx)
        for last, provider in self._routing.routes(ctx.model):
            exchange = provider.exchange(ctx.request, ctx.model.upstream_model)
            settled.exchange = exchange
            exchange.price = charge.cost
            exchange.created = int(ctx.started_at)
            if exchange.dropped:
                reply.add_headers([("x-ezkielyna-dropped", ", ".join(exchange.dropped))])
            answer, started_at = None, time.time()
            try:
                if ctx.request.streamed:
                    await self._stream(provider, exchange, reply, charge, watching)
                else:
                    answer = await self._plain(provider, exchange, charge, settled)
            except BaseException as error:
                note(charge.record, ctx.model, started_at, error)
                once_more = isinstance(error, UpstreamError) and error.retryable
                if last or reply.begun or not once_more:
                    raise
            else:
                note(charge.record, ctx.model, started_at)
                return answer
        raise AssertionError("a model has at least one route")

    async def _plain(
        self, provider: Provider, exchange: Exchange, charge: Charge, settled: Settled
    ) -> bytes:
        relay = PlainRelay()
        self._upstream.start(exchange.request, provider.settings.time_limits, relay)
        status, headers, body = await relay.ended
        charge.begin()
        if status != 200:
            raise exchange.failure(status, headers, body)
        answer = exchange.answer(status, headers, body)
        if charge.reported(exchange) is None:
            answer = await charge.completed(answer, exchange)
        settled.usage = exchange.usage
        return answer

    async def _stream(
        self,
        provider: Provider,
        exchange: Exchange,
        reply: Reply,
        charge: Charge,
        watching: Watching | None,
    ) -> None:
        relay = StreamRelay(
            exchange, reply, charge.allowance(), charge.spend, charge.begin, charge.note, watching
        )
        self._heartbeat.add(relay)
        try:
            relay.start(self._upstream, provider.settings.time_limits)
            await relay.ended
        finally:
            self._heartbeat.discard(relay)
            relay.close()
