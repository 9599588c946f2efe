"""What plugins hang on requests: before, beside and after them.

Without such plugins there is no `RequestHooks` and a request pays for asking whether there is one.
Whatever a plugin raises concerns one request: `before_request` makes it fail, `watch_stream` and
`after_request` are logged with the plugin's name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import orjson
import structlog

from ezkielyna.contract.context import Answer, Ended, RequestContext, Watcher
from ezkielyna.contract.errors import GatewayError, ServerError
from ezkielyna.gateway.call import Call, Credential
from ezkielyna.gateway.estimate import bound_tokens
from ezkielyna.gateway.reply import Reply
from ezkielyna.hooks import Hook, Timings
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.plugins import Registries

log = structlog.stdlib.get_logger("ezkielyna.hooks")

CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"})
"""Headers of a request that no plugin is shown."""

CLOSE_GRACE_S = 5.0
FAILED = "a plugin failed"


class RequestHooks:
    """Runs `before_request` in the plugins' order, `after_request` in the reverse order."""

    def __init__(self, registries: Registries) -> None:
        self._before = registries.before_request
        self._watch = registries.watch_stream
        self._after = tuple(reversed(registries.after_request))
        self._timings = registries.timings
        self._following: dict[str, Following] = {}
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, registries: Registries) -> RequestHooks | None:
        """Return the hooks; None when no plugin has any."""
        any_ = registries.before_request or registries.watch_stream or registries.after_request
        return cls(registries) if any_ else None

    def follow(self, ctx: RequestContext, call: Call) -> None:
        """Let plugins see this request; `after_request` runs when the current task has ended."""
        ctx.received = visible(call.headers, call.head.credential)
        if self._after:
            self._following[ctx.request_id] = following = Following(ctx, call.reply)
            task = asyncio.current_task()
            assert task is not None
            task.add_done_callback(partial(self._ended, following))

    async def before(self, ctx: RequestContext, reply: Reply, record: UsageRecord) -> Answer | None:
        """Run `before_request`; return a plugin's answer, the first one if there are several.

        Raises GatewayError where a plugin refuses; a plugin that fails makes it ServerError.
        """
        if ctx.request_id in self._following:
            self._following[ctx.request_id].record = record
        request = ctx.request
        for hook in self._before:
            await self._ask(hook, ctx)
            if ctx.answer is not None:
                break
        if ctx.request is not request:
            bound_tokens(ctx)
        if ctx.added:
            reply.add_headers(list(ctx.added))
        return ctx.answer

    def watching(self, ctx: RequestContext) -> Watching | None:
        """Return the watchers of a stream that begins; None when no plugin wants to see it."""
        watchers: dict[str, Watcher] = {}
        for hook in self._watch:
            try:
                watcher = hook.call(ctx)
                if watcher is not None and not callable(watcher):
                    raise TypeError(f"must return a function or None, not {watcher!r}")
            except Exception:
                log.exception(FAILED, **_about(hook, ctx))
                continue
            if watcher is not None:
                watchers[hook.plugin] = watcher
        return Watching(watchers, ctx.request_id, self._timings) if watchers else None

    def answered(self, ctx: RequestContext, body: bytes) -> None:
        """Keep a plain answer for `after_request`."""
        if ctx.request_id in self._following:
            self._following[ctx.request_id].body = body

    async def close(self) -> None:
        """Let `after_request` of the last requests end, for a moment."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=CLOSE_GRACE_S)
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, hook: Hook, ctx: RequestContext) -> None:
        """Run one `before_request`, and check what it made of the request."""
        try:
            await hook.run(ctx)
            if ctx.answer is not None:
                check_answer(ctx)
        except GatewayError:
            raise
        except Exception:
            log.exception(FAILED, **_about(hook, ctx))
            raise ServerError.masked(ctx.request_id) from None

    def _ended(self, following: Following, request: asyncio.Task[None]) -> None:
        del self._following[following.ctx.request_id]
        task = request.get_loop().create_task(self._after_request(following))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _after_request(self, following: Following) -> None:
        ctx = following.ctx
        ctx.ended = following.ended()
        for hook in self._after:
            try:
                await hook.run(ctx)
            except Exception:
                log.exception(FAILED, **_about(hook, ctx))


class Following:
    """A request that `after_request` will be told of; `record` is there once it has a charge."""

    __slots__ = ("body", "ctx", "record", "reply")

    def __init__(self, ctx: RequestContext, reply: Reply) -> None:
        self.ctx = ctx
        self.reply = reply
        self.record: UsageRecord | None = None
        self.body: bytes | None = None

    def ended(self) -> Ended:
        """Return how the request ended: as it was settled, else as it was refused."""
        record = self.record
        status, word = self.reply.refused or (200, "")
        if record is None or record.ended_at is None:
            outcome = "ok" if not word else "refused" if status < 500 else "failed"
            return Ended(outcome, status, time.time(), word, body=self.body)
        return Ended(
            outcome=record.outcome,
            status=record.status,
            ended_at=record.ended_at,
            error=word,
            usage=record.usage if record.usage.total or record.usage.images else None,
            bill=record.bill,
            first_byte_at=record.first_byte_at,
            body=self.body,
        )


class Watching:
    """The watchers of one stream. `show` is called with every piece; it is the one watcher's own
    function where there is one, so that a chunk costs one call.

    A plugin's watcher is timed when its slowness could be reported, else it is not.
    """

    __slots__ = ("_request_id", "_timings", "_watchers", "plugin", "show")

    def __init__(self, watchers: dict[str, Watcher], request_id: str, timings: Timings) -> None:
        self._request_id = request_id
        self._timings = timings
        self._watchers = {name: self._timed(name, shown) for name, shown in watchers.items()}
        self.plugin = ", ".join(watchers)
        self.show: Watcher = self._show_all
        if len(watchers) == 1:
            [self.show] = self._watchers.values()

    def _show_all(self, data: bytes) -> None:
        for plugin, watcher in tuple(self._watchers.items()):
            try:
                watcher(data)
            except Exception:
                log.exception("a watcher failed", plugin=plugin, request_id=self._request_id)
                del self._watchers[plugin]

    def _timed(self, plugin: str, watcher: Watcher) -> Watcher:
        timings = self._timings
        if not timings.sample(plugin):
            return watcher

        def timed(data: bytes) -> None:
            began = time.perf_counter()
            watcher(data)
            took = time.perf_counter() - began
            timings.ran(plugin, "watch_stream", took, took)

        return timed


def visible(headers: Iterable[Any], credential: Credential | None) -> Mapping[str, str]:
    """Return a request's headers, names in lower case, without any that could hold a credential."""
    key = None if credential is None else credential.text
    pairs = dict(headers.items()) if hasattr(headers, "items") else dict(headers)
    return {
        name.lower(): text
        for name, text in pairs.items()
        if name.lower() not in CREDENTIALS and (not key or key not in text)
    }


def check_answer(ctx: RequestContext) -> None:
    """Raise TypeError or ValueError where a plugin's answer cannot be given."""
    answer = ctx.answer
    if not isinstance(answer, Answer):
        raise TypeError(f"ctx.answer must be an Answer, not {answer!r}")
    if ctx.request.streamed:
        raise ValueError("only a plain request can be answered by a plugin")
    if not isinstance(orjson.loads(answer.body), dict):
        raise TypeError("the body of ctx.answer must be a JSON object")
    if answer.usage is not None and not answer.usage.plausible:
        raise ValueError("the usage of ctx.answer is not plausible")


def _about(hook: Hook, ctx: RequestContext) -> dict[str, str]:
    return {"plugin": hook.plugin, "hook": hook.name, "request_id": ctx.request_id}
