"""Plugins: find them by name, load them, check what they offer, freeze it.

pluggy finds the hooks; no pluggy call is made once the registries stand. A plugin is an entry
point of group `ezkielyna` and is imported only when the configuration names it. Our own defaults
register through the same hooks.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from ezkielyna import defaults
from ezkielyna.contract import hookspecs
from ezkielyna.contract.billing import BillingPolicy, BillingSettings
from ezkielyna.contract.context import Gateway, Route
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.contract.pages import ConsolePage
from ezkielyna.contract.payment import PaymentMethod, PaymentSettings
from ezkielyna.contract.plugin import Plugin, PluginSettings
from ezkielyna.contract.provider import Provider, ProviderSettings
from ezkielyna.hooks import Hook, PluginRefused, Timings, blaming
from ezkielyna.settings.faults import Fault, Refused, dotted
from ezkielyna.settings.loading import explained
from ezkielyna.settings.model import Settings

GROUP = "ezkielyna"
DEFAULTS = "ezkielyna"
"""The name under which our own defaults are a plugin."""

ASYNCHRONOUS = frozenset({"startup", "shutdown", "before_request", "after_request"})
"""Hooks that are awaited; all others are called."""

API_PATHS = ("/v1/", "/api/v1/")

__all__ = ["DEFAULTS", "PluginRefused", "Registries", "blaming", "installed", "load_plugins"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registries:
    """What the plugins offer: classes by kind, hooks in the order of the configuration. Frozen."""

    providers: Mapping[str, type[Provider]]
    limiters: Mapping[str, type[RateLimiter]]
    billing: Mapping[str, type[BillingPolicy]]
    payments: Mapping[str, type[PaymentMethod]]
    startup: tuple[Hook, ...] = ()
    shutdown: tuple[Hook, ...] = ()
    before_request: tuple[Hook, ...] = ()
    watch_stream: tuple[Hook, ...] = ()
    after_request: tuple[Hook, ...] = ()
    routes: tuple[Hook, ...] = ()
    pages: tuple[Hook, ...] = ()
    commands: tuple[Hook, ...] = ()
    offered_by: Mapping[type, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, PluginSettings] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)

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
        return kinds + [hook.name for hook in self._hooks() if hook.plugin == plugin]

    def rules(self, gateway: Gateway) -> list[Route]:
        """Return the plugins' rules, in order; raises PluginRefused for what cannot serve."""
        rules: list[Route] = []
        owners: dict[str, str] = {}
        for hook in self.routes:
            with blaming(hook.plugin, hook.name):
                for rule in _offered(hook.call(gateway)):
                    fault = _unfit_rule(rule, owners)
                    if fault:
                        raise PluginRefused([Fault(f"plugin {hook.plugin}", hook.name, fault)])
                    owners[rule[0]] = hook.plugin
                    rules.append(rule)
        return rules

    def console_pages(self, gateway: Gateway) -> list[tuple[str, ConsolePage]]:
        """Return the pages of plugins, each with its plugin; raises PluginRefused."""
        pages: list[tuple[str, ConsolePage]] = []
        for hook in self.pages:
            with blaming(hook.plugin, hook.name):
                for page in _offered(hook.call(gateway)):
                    if not isinstance(page, ConsolePage):
                        raise TypeError(f"must return pages as ConsolePage, not {page!r}")
                    pages.append((hook.plugin, page))
        return pages

    def _hooks(self) -> Iterator[Hook]:
        yield from (*self.routes, *self.pages, *self.commands, *self.startup, *self.before_request)
        yield from (*self.watch_stream, *self.after_request, *self.shutdown)


@cache
def installed() -> Mapping[str, Sequence[EntryPoint]]:
    """Return every installed plugin by name, without importing any; looked up once a process."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return MappingProxyType({name: tuple(points) for name, points in sorted(found.items())})


def load_plugins(settings: Settings) -> Registries:
    """Return what the named plugins and our defaults offer.

    Raises PluginRefused with the faults of all of them.
    """
    loading = _Loading(settings)
    loading.register(DEFAULTS, defaults)
    available = installed()
    for name in dict.fromkeys(settings.plugins):
        with loading.collecting():
            found = _imported(name, available, loading.origin)
            loading.register(name, loading.configured(name, found))
    loading.faults.extend(_unread(settings))
    return loading.freeze()


class _Loading:
    """Plugins on their way into the registries, and the faults found on the way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.origin = settings.origin("plugins")
        self.timings = Timings.of()
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

    def configured(self, name: str, plugin: Any) -> Any:
        """Return the object of a plugin that is a class, made with its table; others as they are.

        Raises PluginRefused with every fault of the table.
        """
        table = self.settings.plugin.get(name)
        place = ("plugin", name)
        if not (inspect.isclass(plugin) and issubclass(plugin, Plugin)):
            if table is not None:
                reason = f"the plugin {name} takes no settings; remove the table"
                raise PluginRefused([Fault(self.settings.origin(*place), dotted(place), reason)])
            return plugin
        with blaming(name, plugin.__name__):
            if not issubclass(plugin.Settings, PluginSettings):
                raise TypeError(f"{plugin.__name__}.Settings must be a subclass of PluginSettings")
            try:
                return plugin(plugin.Settings.model_validate(table or {}))
            except ValidationError as error:
                raise PluginRefused(self._explained(place, error, plugin, table or {})) from None

    def _explained(
        self, place: tuple[str, ...], error: ValidationError, plugin: type[Plugin], table: Any
    ) -> list[Fault]:
        reasons = explained(error, plugin.Settings, table).items()
        return [
            Fault(self.settings.origin(*place, *path), dotted((*place, *path)), reason)
            for path, reason in reasons
        ]

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
            before_request=self._hooks("before_request"),
            watch_stream=self._hooks("watch_stream"),
            after_request=self._hooks("after_request"),
            routes=self._hooks("register_routes"),
            pages=self._hooks("register_pages"),
            commands=self._hooks("register_commands"),
            offered_by=MappingProxyType(self.offered_by),
            sources=MappingProxyType(self._sources()),
            settings=MappingProxyType(
                {n: p.settings for n, p in self.order.items() if isinstance(p, Plugin)}
            ),
            timings=self.timings,
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
        """Return a hook's implementations; one that is wrongly `async`, or not, is a fault."""
        found: list[Hook] = []
        for name, implementation in self._implementations(hook):
            function = implementation.function
            if inspect.iscoroutinefunction(function) != (hook in ASYNCHRONOUS):
                right = "async def" if hook in ASYNCHRONOUS else "def"
                self.blame(name, hook, f"must be written with `{right}`")
                continue
            call = function if implementation.argnames else _without_argument(function)
            found.append(Hook(name, hook, call, self.timings))
        return tuple(found)

    def _sources(self) -> dict[str, str]:
        """Return for the folder or file of a plugin's code its name; our defaults left out."""
        sources: dict[str, str] = {}
        for name, plugin in self.order.items():
            module = plugin if inspect.ismodule(plugin) else sys.modules[type(plugin).__module__]
            file = Path(getattr(module, "__file__", None) or "")
            if name != DEFAULTS and file.name:
                sources[str(file.parent) if file.stem == "__init__" else str(file)] = name
        return sources

    def _shelf(self, hook: str, base: type) -> Mapping[str, Any]:
        shelf: dict[str, Any] = {}
        for offering in self._hooks(hook):
            name = offering.plugin
            with self.collecting(), blaming(name, hook):
                for class_ in _offered(offering.call()):
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


def _imported(name: str, available: Mapping[str, Sequence[EntryPoint]], origin: str) -> Any:
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


def _unread(settings: Settings) -> Iterator[Fault]:
    """Yield a fault for every table of settings that no plugin reads."""
    for name in settings.plugin:
        if name not in settings.plugins:
            place = ("plugin", name)
            reason = f"the plugin is not enabled; add {name!r} to plugins, or remove the table"
            yield Fault(settings.origin(*place), dotted(place), reason)


def _without_argument(function: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda _: function()


def _unfit_rule(rule: Any, owners: Mapping[str, str]) -> str:
    """Return why this is no rule that can serve, or ""."""
    if not isinstance(rule, tuple) or len(rule) not in (2, 3) or not isinstance(rule[0], str):
        return f"must return tuples (pattern, handler class[, arguments]), not {rule!r}"
    if not inspect.isclass(rule[1]):
        return f"{rule[1]!r} is no handler class"
    if rule[0].startswith(API_PATHS) or not rule[0].startswith("/"):
        return f"{rule[0]!r} must begin with a slash, and not with {' or '.join(API_PATHS)}"
    if rule[0] in owners:
        return f"{rule[0]!r} is also offered by plugin {owners[rule[0]]}; name only one of them"
    return ""


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
