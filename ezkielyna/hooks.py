"""Calling into plugins: every call is timed, bounded, and blamed on the plugin that it went to.

`EZKIELYNA_TRACE_HOOKS=1` prints every call with its time. A hook that holds the event loop, or
lets a request wait, is reported: once a minute for each plugin, whatever it does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from ezkielyna.contract.context import Gateway
from ezkielyna.settings.faults import Fault, Refused

TRACE = "EZKIELYNA_TRACE_HOOKS"
HELD_S = 0.1
"""A step between two awaits that takes longer has held up every other request."""

WAITED_S = 1.0
"""A hook that takes longer before a request is reported even if it only waits."""

REPORT_EVERY_S = 60.0
SAMPLE_EVERY_S = 10.0
LIMITS_S = {"startup": 60.0, "shutdown": 30.0, "before_request": 30.0, "after_request": 30.0}
"""How long an asynchronous hook may take before it is cancelled."""

logger = logging.getLogger(__name__)
log = structlog.stdlib.get_logger("ezkielyna.hooks")


class PluginRefused(Refused):
    """A plugin is missing, broken, or in another's way."""


@contextmanager
def blaming(plugin: str, key: str) -> Iterator[None]:
    """Raise whatever a plugin raises as PluginRefused that names it; refusals pass unchanged."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        # A plugin is code of somebody else: anything may come out of it, and must name it.
        logger.info("plugin %s failed in %s", plugin, key, exc_info=True)
        reason = f"{type(error).__name__}: {error}{_place(error)}"
        raise PluginRefused([Fault(f"plugin {plugin}", key, reason)]) from error


def _place(error: Exception) -> str:
    """Return the innermost line at which the error was raised, for the author of the plugin."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})" if trace else ""


@dataclass
class Timings:
    """What becomes of the times of calls: the trace, and reports of slow plugins."""

    traced: bool = False
    clock: Callable[[], float] = time.monotonic
    _reported: dict[str, float] = field(default_factory=dict)
    _sampled: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Timings:
        """Return timings that trace where the environment asks for it."""
        return cls(traced=environment.get(TRACE, "") not in ("", "0"))

    def ran(self, plugin: str, hook: str, took_s: float, held_s: float) -> None:
        """Take note of one call: how long it took, and its longest step without an await."""
        if self.traced:
            sys.stderr.write(f"hook {hook} of {plugin}: {took_s * 1000:.3f} ms\n")
        if held_s > HELD_S and hook not in ("startup", "shutdown"):
            self._report(plugin, hook, held_s, "held up every request; await, or use a thread")
        elif took_s > WAITED_S and hook == "before_request":
            self._report(plugin, hook, took_s, "let its request wait")

    def sample(self, plugin: str) -> bool:
        """True when a plugin's watcher should be timed: one stream in ten seconds, or every one."""
        return self.traced or self._due(self._sampled, plugin, SAMPLE_EVERY_S)

    def _due(self, last: dict[str, float], plugin: str, every_s: float) -> bool:
        now = self.clock()
        due = now - last.get(plugin, -every_s) >= every_s
        if due:
            last[plugin] = now
        return due

    def _report(self, plugin: str, hook: str, seconds: float, did: str) -> None:
        if self._due(self._reported, plugin, REPORT_EVERY_S):
            log.warning(
                "a plugin is slow", plugin=plugin, hook=hook, seconds=round(seconds, 3), did=did
            )


@dataclass(frozen=True, slots=True)
class Hook:
    """One plugin's implementation of one hook; `function` takes the hook's one argument."""

    plugin: str
    name: str
    function: Callable[[Any], Any]
    timings: Timings = field(default_factory=Timings)

    def call(self, argument: Any = None) -> Any:
        """Call it where it is not asynchronous; raises what it raises."""
        began = time.perf_counter()
        try:
            return self.function(argument)
        finally:
            took = time.perf_counter() - began
            self.timings.ran(self.plugin, self.name, took, took)

    async def run(self, argument: Any) -> None:
        """Run it to its end; raises what it raises, TimeoutError when it takes too long."""
        limit = LIMITS_S[self.name]
        began = time.perf_counter()
        stepped = Stepped(self.function(argument))
        try:
            async with asyncio.timeout(limit) as bound:
                await stepped
        except TimeoutError:
            if bound.expired():
                raise TimeoutError(f"it did not end within {limit:g} s") from None
            raise
        finally:
            took = time.perf_counter() - began
            self.timings.ran(self.plugin, self.name, took, stepped.longest_s)


class Stepped(Generator[Any, Any, Any]):
    """Awaits something and measures its longest step: for so long nothing else could run."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._steps = awaitable.__await__()
        self.longest_s = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def send(self, value: Any) -> Any:
        """Take the next step."""
        return self._timed(self._steps.send, value)

    def throw(self, *error: Any) -> Any:
        """Take the next step with an error, such as a cancellation."""
        return self._timed(self._steps.throw, *error)

    def _timed(self, step: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return step(*arguments)
        finally:
            self.longest_s = max(self.longest_s, time.perf_counter() - began)


async def start_plugins(hooks: Iterable[Hook], gateway: Gateway) -> None:
    """Await every `startup`; raises PluginRefused naming the plugin that failed."""
    for hook in hooks:
        with blaming(hook.plugin, hook.name):
            await hook.run(gateway)


async def stop_plugins(hooks: Iterable[Hook], gateway: Gateway) -> None:
    """Await every `shutdown`, the last plugin's first; one that fails is logged and passed by."""
    for hook in reversed(tuple(hooks)):
        try:
            with blaming(hook.plugin, hook.name):
                await hook.run(gateway)
        except PluginRefused as refused:
            log.error("a plugin did not shut down", plugin=hook.plugin, reason=str(refused))


async def end_leftovers(sources: Mapping[str, str]) -> None:
    """Cancel the tasks that plugins left behind, naming whose they are.

    `sources` gives for the folder or file of a plugin's code its name.
    """
    leftover: list[asyncio.Task[Any]] = []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        code = getattr(task.get_coro(), "cr_code", None)
        file = code.co_filename if code is not None else ""
        plugin = next((name for start, name in sources.items() if file.startswith(start)), None)
        if plugin is not None:
            log.warning("a plugin left a task behind", plugin=plugin, task=task.get_name())
            task.cancel()
            leftover.append(task)
    if leftover:
        await asyncio.wait(leftover, timeout=1.0)
