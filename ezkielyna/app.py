"""Composition root: settings → plugins → rooms → routes. No logic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tornado.web import Application

from ezkielyna.console.application import Console, application
from ezkielyna.console.notices import Notices
from ezkielyna.console.office import Office
from ezkielyna.console.plugin_pages import with_pages
from ezkielyna.contract.context import Model
from ezkielyna.contract.provider import Provider
from ezkielyna.gateway.admission import Admission
from ezkielyna.gateway.api import Api
from ezkielyna.gateway.authentication import Authentication
from ezkielyna.gateway.catalogue import build_catalogue
from ezkielyna.gateway.counter import TokenCounter
from ezkielyna.gateway.delegates import ApiRouter
from ezkielyna.gateway.guard import Guard, memory_share
from ezkielyna.gateway.heartbeat import Heartbeat
from ezkielyna.gateway.hooks import RequestHooks
from ezkielyna.gateway.idempotency import Idempotency
from ezkielyna.gateway.pipeline import Pipeline
from ezkielyna.gateway.price_notes import PriceNotes
from ezkielyna.gateway.probe import Prober
from ezkielyna.gateway.reports import Reports
from ezkielyna.gateway.routing import Routing
from ezkielyna.gateway.suspects import Suspects
from ezkielyna.hooks import end_leftovers, start_plugins, stop_plugins
from ezkielyna.ledger.books import Ledger
from ezkielyna.ledger.live import Live
from ezkielyna.ledger.payments import Payments
from ezkielyna.mail.carriers import carrier
from ezkielyna.mail.post import Post
from ezkielyna.plugins import Registries
from ezkielyna.settings import Settings
from ezkielyna.storage.database import Database
from ezkielyna.storage.idempotency import Claims
from ezkielyna.storage.keys import Keys
from ezkielyna.wire.client_address import ClientAddresses
from ezkielyna.wire.fetcher import Fetcher
from ezkielyna.wire.upstream import Upstream


class App:
    """One process's gateway: every room, wired together. It is the `gateway` that hooks see."""

    def __init__(
        self,
        settings: Settings,
        registries: Registries,
        database: Database,
        data: Path,
        secret: bytes,
    ) -> None:
        self.settings = settings
        self.data = data
        self._registries = registries
        self._catalogue = build_catalogue(settings, registries)
        self._ledger = Ledger(database, data, prices=self._catalogue.prices())
        self.addresses = ClientAddresses(settings.server.trusted_proxies)
        keys = Keys(database, secret)
        self._authentication = Authentication(
            keys, process=self._ledger.process, suspects=Suspects(self.addresses)
        )
        self._live = Live(database, self._ledger)
        self._upstream = Upstream()
        self._fetcher = Fetcher(settings.fetch.allow) if settings.fetch.enabled else None
        self.payments = Payments(
            database, secret, self._catalogue.payments, settings.server.address
        )
        self._idempotency = Idempotency(Claims(database, self._ledger.process))
        self._counter = TokenCounter()
        self._hooks = RequestHooks.of(registries)
        self._post = Post(carrier(settings.mail.url), settings.mail.sender)
        self._notices = Notices(database, self._post, settings.server.address)
        self._price_notes = PriceNotes(database, self._catalogue.models)
        self.heartbeat = Heartbeat(settings.server.heartbeat_s)
        admission = Admission(
            self._catalogue.plans,
            settings.accounts.plan,
            self._catalogue.limiters,
            require_verified_email=settings.accounts.require_verified_email,
        )
        self.pipeline = Pipeline(
            self._authentication,
            self._catalogue,
            admission,
            self._ledger,
            Routing(self._catalogue.providers, self._fetcher),
            self._upstream,
            self.heartbeat,
            self._idempotency,
            self._counter,
            self._hooks,
        )
        api = Api(
            self.pipeline,
            self._authentication,
            admission,
            self._catalogue,
            Reports(database, keys),
            max_body=settings.server.max_body,
        )
        memory = memory_share(settings.server.max_memory_mib, settings.server.processes)
        self._guard = Guard(settings.server.max_in_flight, memory)
        self.router = ApiRouter(api, self._pages(database, secret), self._guard)

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Every configured provider by its configured name."""
        return self._catalogue.providers

    @property
    def models(self) -> Mapping[str, Model]:
        """The catalogue by public name."""
        return self._catalogue.models

    async def start(self) -> None:
        """Start every room, then the plugins; connections may come after this."""
        await self._ledger.start()
        self._live.start()
        self._authentication.start()
        self._guard.start()
        for limiter in self._catalogue.limiters.values():
            await limiter.start()
        await self.payments.start()
        self._notices.start()
        self._price_notes.start()
        await start_plugins(self._registries.startup, self)

    async def close(self) -> None:
        """Settle and return everything; no request may be running."""
        if self._hooks is not None:
            await self._hooks.close()
        await stop_plugins(self._registries.shutdown, self)
        await end_leftovers(self._registries.sources)
        for limiter in self._catalogue.limiters.values():
            await limiter.close()
        await self.payments.close()
        self._guard.close()
        await self._authentication.close()
        await self._idempotency.close()
        await self._counter.close()
        await self._notices.close()
        await self._price_notes.close()
        await self._post.close()
        await self._upstream.close()
        if self._fetcher is not None:
            await self._fetcher.close()
        await self._live.close()
        await self._ledger.close()

    def _pages(self, database: Database, secret: bytes) -> Application:
        rules = self._registries.rules(self)
        console = Console(
            self.settings,
            database,
            secret,
            self._catalogue.models,
            self._catalogue.plans,
            self._obstacle,
            self._degraded,
            self._post,
            self.addresses,
            self.payments,
            self._live,
            Office(
                self._registries,
                self._catalogue.providers,
                self._catalogue.policies,
                lambda: self._ledger.backlog,
                Prober(self._catalogue, self._upstream),
                self.settings.plugins,
            ),
            topics=with_pages(self._registries.console_pages(self), rules),
        )
        return application(console, rules)

    def _obstacle(self) -> str | None:
        if self.pipeline.draining:
            return "draining"
        return None if self._ledger.ready else "the ledger cannot take requests"

    def _degraded(self) -> list[str]:
        limiters = self._catalogue.limiters.values()
        lesser = [limiter.degradation for limiter in limiters]
        lesser += [self._guard.trouble, "mail does not leave" if self._post.trouble else None]
        return [text for text in lesser if text is not None]
