"""The page that Prometheus reads."""

from __future__ import annotations

import asyncio
import hmac
from ipaddress import ip_address

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from tornado.web import HTTPError, RequestHandler

from ezkielyna_metrics.shared import Shared


class MetricsPage(RequestHandler):
    """Shows the sums of all workers to who has the token; without a token, to this machine."""

    def initialize(self, shared: Shared, token: str) -> None:
        """Take what is shown, and to whom."""
        self.shared = shared
        self.token = token

    def prepare(self) -> None:
        """Answer 403 to strangers."""
        if not self._welcome():
            raise HTTPError(403, "send the token, or come from this machine")

    async def get(self) -> None:
        """Answer in the format that the client asks for."""
        registry = CollectorRegistry()
        registry.register(self.shared)
        encoder, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        body = await asyncio.to_thread(encoder, registry)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(body)

    def _welcome(self) -> bool:
        headers = self.request.headers
        if self.token:
            given = headers.get("Authorization", "").removeprefix("Bearer ")
            return hmac.compare_digest(given.encode(), self.token.encode())
        # A proxy on this machine would make everybody look local.
        forwarded = "X-Forwarded-For" in headers or "Forwarded" in headers
        try:
            return ip_address(self.request.remote_ip or "").is_loopback and not forwarded
        except ValueError:
            return False
