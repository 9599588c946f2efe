"""What is counted in one process. Every label has a closed set of values, known at start-up."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ezkielyna import RequestContext

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Numbers:
    """The counters, histograms and the gauge of this process.

    Labels are models and providers of the catalogue, endpoints, outcomes, statuses and buckets of
    usage: never accounts, keys, or anything that a customer may make up.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._touched = False
        self._requests = Counter(
            "ezkielyna_requests",
            "Requests that ended.",
            ("endpoint", "model", "provider", "outcome", "status"),
            registry=registry,
        )
        self._tokens = Counter(
            "ezkielyna_tokens",
            "Tokens that were billed; pieces for images.",
            ("model", "bucket"),
            registry=registry,
        )
        self._cost = Counter(
            "ezkielyna_cost_nano_usd",
            "What was billed, in nano-dollars (1e-9 USD).",
            ("model",),
            registry=registry,
        )
        self._first_byte = Histogram(
            "ezkielyna_first_byte_seconds",
            "From a request's admission to the first byte of its answer.",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self._duration = Histogram(
            "ezkielyna_duration_seconds",
            "From a request's admission to its end.",
            ("endpoint", "model"),
            buckets=SECONDS,
            registry=registry,
        )
        self._running = Gauge(
            "ezkielyna_requests_running",
            "Requests that run now.",
            ("endpoint",),
            registry=registry,
        )

    def begun(self, ctx: RequestContext) -> None:
        """Count a request that runs from now on."""
        self._touched = True
        self._running.labels(ctx.endpoint).inc()

    def ended(self, ctx: RequestContext, *, running: bool) -> None:
        """Count a request that ended; `running` says that `begun` was told of it."""
        ended, model = ctx.ended, ctx.model.name
        assert ended is not None
        self._touched = True
        if running:
            self._running.labels(ctx.endpoint).dec()
        status = str(ended.status)
        self._requests.labels(ctx.endpoint, model, ctx.model.provider, ended.outcome, status).inc()
        self._duration.labels(ctx.endpoint, model).observe(max(0, ended.ended_at - ctx.started_at))
        if ended.first_byte_at is not None:
            waited = max(0, ended.first_byte_at - ctx.started_at)
            self._first_byte.labels(model).observe(waited)
        if ended.usage is not None:
            for bucket, quantity in ended.usage.quantities():
                if quantity:
                    self._tokens.labels(model, bucket).inc(quantity)
        if ended.bill.cost:
            self._cost.labels(model).inc(ended.bill.cost)

    def changed(self) -> bool:
        """True when something was counted since the last call."""
        touched, self._touched = self._touched, False
        return touched
