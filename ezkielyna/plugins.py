"""Plugins: find them by name, load them, check what they offer, freeze it.

pluggy finds the hooks; no pluggy call is made once the registries stand. A plugin is an entry
point of group `ezkielyna` and is imported only when the configuration names it. Our own defaults
register through the same hooks.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, TypeVar

import pluggy

from ezkielyna import defaults
from ezkielyna.contract import hookspecs
from ezkielyna.contract.billing import BillingPolicy, BillingSettings
from ezkielyna.contract.context import Gateway
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.contract.payment import PaymentMethod, PaymentSettings
from ezkielyna.contract.provider import Provider, ProviderSettings
from ezkielyna.settings.faults import Fault, Refused
from ezkielyna.settings.model import Settings

GROUP = "ezkielyna"
DEFAULTS = "ezkielyna"
"""The name under which our own defaults are a plugin."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class PluginRefused(Refused):
    """A plugin is missing, broken, or in another's way."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One plugin's `startup` or `shutdown`. Awaiting it raises PluginRefused naming the plugin."""

    plugin: str
    name: str
    implementation: Any
    takes_gateway: bool

    async def __call__(self, gateway: Gateway) -> None:
        """Run it to its end."""
        with blaming(self.plugin, self.name):
            await self.implementation(*([gateway] if self.takes_gateway else []))


@dataclass(frozen=True, slots=True)
class Registries:
    """What the plugins offer: classes by kind, hooks in the order of the configuration. Frozen."""

    providers: Mapping[str, type[Provider]]
    limiters: Mapping[str, type[RateLimiter]]
    billing: Mapping[str, type[BillingPolicy]]
    payments: Mapping[str, type[PaymentMethod]]
    startup: tuple[Hook, ...]
    shutdown: tuple[Hook, ...]
    offered_by: Mapping[type, str] = field(default_factory=dict)

    def make(self, class_: type[T], *arguments: Any) -> T:
        """Return an instance; raises PluginRefused naming the plugin when it cannot be made."""
        with blaming(self.offered_by[class_], class_.__name__):
            return class_(*arguments)

    def offers(self, plugin: str) -> list[str]:
        """Return what a plugin offers, such as `provider openai`."""
        shelves: list[tuple[str, Mapping[str, type]]] = [
            ("provider", self.providers),
            ("limiter", self.limiters),
            ("billing", self.billing),
            ("payment", self.payments),
        ]
        kinds = [
            f"{word} {kind}"
            for word, shelf in shelves
            for kind, class_ in shelf.items()
            if self.offered_by[class_] == plugin
        ]
        hooks = [hook.name for hook in (*self.startup, *self.shutdown) if hook.plugin == plugin]
        return kinds + hooks


def installed() -> dict[str, list[EntryPoint]]:
    """Return every installed plugin by name, without importing any."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return dict(sorted(found.items()))


def load_plugins(settings: Settings) -> Registries:
    """Return what the named plugins and our defaults offer.

    Raises PluginRefused with the faults of all of them.
    """
    loading = _Loading(settings.origin("plugins"))
    loading.register(DEFAULTS, defaults)
    available = installed()
    for name in dict.fromkeys(settings.plugins):
        with loading.collecting():
            loading.register(name, _imported(name, available, loading.origin))
    return loading.freeze()


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


class _Loading:
    """Plugins on their way into the registries, and the faults found on the way."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.faults: list[Fault] = []
        self.order: dict[str, Any] = {}
        self.offered_by: dict[type, str] = {}
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep the faults of a refusal, and go on."""
        try:
            yield
        except Refused as refused:
            self.faults.extend(refused.faults)

    def blame(self, plugin: str, key: str, reason: str) -> None:
        self.faults.append(Fault(f"plugin {plugin}", key, reason))

    def register(self, name: str, plugin: Any) -> None:
        """Hand a plugin to pluggy; hooks that do not exist or take too much are faults."""
        with self.collecting(), blaming(name, "hooks"):
            self._check_names(name, plugin)
            try:
                self.manager.register(plugin, name)
            except pluggy.PluginValidationError as error:
                self.blame(name, "hooks", " ".join(str(error).split()))
                return
            self.order[name] = plugin

    def freeze(self) -> Registries:
        """Return the registries; raises PluginRefused with all faults."""
        registries = Registries(
            providers=self._shelf("register_providers", Provider),
            limiters=self._shelf("register_rate_limiters", RateLimiter),
            billing=self._shelf("register_billing_policies", BillingPolicy),
            payments=self._shelf("register_payment_methods", PaymentMethod),
            startup=self._hooks("startup"),
            shutdown=self._hooks("shutdown"),
            offered_by=MappingProxyType(self.offered_by),
        )
        if self.faults:
            raise PluginRefused(self.faults)
        self.manager.check_pending()
        return registries

    def _check_names(self, name: str, plugin: Any) -> None:
        known = [hook for hook in dir(hookspecs) if hasattr(self.manager.hook, hook)]
        for attribute in dir(plugin):
            if attribute in known:
                continue
            if self.manager.parse_hookimpl_opts(plugin, attribute) is None:
                continue
            close = get_close_matches(attribute, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"hooks are {', '.join(known)}"
            self.blame(name, attribute, f"there is no such hook; {hint}")

    def _implementations(self, hook: str) -> list[tuple[str, pluggy.HookImpl]]:
        """Return every implementation in the order in which the plugins were named.

        pluggy itself calls the plugin that was registered last first.
        """
        found = getattr(self.manager.hook, hook).get_hookimpls()
        names = list(self.order)
        return sorted(
            ((implementation.plugin_name, implementation) for implementation in found),
            key=lambda pair: names.index(pair[0]),
        )

    def _hooks(self, hook: str) -> tuple[Hook, ...]:
        return tuple(
            Hook(name, hook, implementation.function, bool(implementation.argnames))
            for name, implementation in self._implementations(hook)
        )

    def _shelf(self, hook: str, base: type) -> Mapping[str, Any]:
        shelf: dict[str, Any] = {}
        for name, implementation in self._implementations(hook):
            with self.collecting(), blaming(name, hook):
                for class_ in _offered(implementation.function()):
                    fault = _unfit(class_, base) or self._clash(shelf, name, class_)
                    if fault:
                        self.blame(name, hook, fault)
                        continue
                    shelf[class_.kind] = class_
                    self.offered_by[class_] = name
        return MappingProxyType(shelf)

    def _clash(self, shelf: Mapping[str, type], name: str, class_: Any) -> str:
        other = shelf.get(class_.kind)
        if other is None:
            return ""
        rival = self.offered_by[other]
        remedy = f"name only one of {rival} and {name}" if rival != name else "offer it once"
        return f"kind {class_.kind!r} is also offered by plugin {rival}; {remedy}"


def _offered(answer: Any) -> Sequence[Any]:
    """Return what a registering hook answered; raises TypeError when that is no list."""
    if inspect.iscoroutine(answer):
        answer.close()
    if not isinstance(answer, list | tuple):
        raise TypeError(f"must return a list of classes, not {type(answer).__name__}")
    return answer


def _imported(name: str, available: Mapping[str, list[EntryPoint]], origin: str) -> Any:
    """Return the plugin's object; raises PluginRefused."""
    points = available.get(name, [])
    if not points:
        names = ", ".join(available) or "none"
        remedy = f"try `pip install ezkielyna-{name}`, or take it out of plugins"
        reason = f"{name!r} is not installed; installed are: {names}; {remedy}"
        raise PluginRefused([Fault(origin, "plugins", reason)])
    if len(points) > 1:
        owners = " and ".join(point.dist.name if point.dist else "?" for point in points)
        reason = f"{name!r} is offered by {owners}; uninstall all but one"
        raise PluginRefused([Fault(origin, "plugins", reason)])
    with blaming(name, points[0].value):
        return points[0].load()


def _unfit(class_: Any, base: type) -> str:
    """Return why this cannot go into a registry, or ""."""
    offered: Any = class_
    if not inspect.isclass(class_) or not issubclass(class_, base):
        return f"must return subclasses of {base.__name__}, not {class_!r}"
    kind = getattr(class_, "kind", None)
    if not isinstance(kind, str) or not kind:
        return f'{class_.__name__} needs a kind, such as kind = "my-kind"'
    if inspect.isabstract(class_):
        missing = ", ".join(sorted(getattr(class_, "__abstractmethods__", ())))
        return f"{class_.__name__} is abstract; write {missing}"
    settings = _SETTINGS.get(base)
    if settings is not None and not issubclass(offered.Settings, settings):
        return f"{class_.__name__}.Settings must be a subclass of {settings.__name__}"
    return ""


_SETTINGS: Mapping[type, type] = {
    Provider: ProviderSettings,
    BillingPolicy: BillingSettings,
    PaymentMethod: PaymentSettings,
}
"""What the nested class `Settings` must be a subclass of, by the base of what is offered."""


def _place(error: Exception) -> str:
    """Return the innermost line at which the error was raised, for the author of the plugin."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})" if trace else ""
