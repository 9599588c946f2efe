"""What plugins may import: `ezkielyna` hands these names on, at the first use of one."""

from ezkielyna.contract.billing import BillingPolicy, BillingSettings
from ezkielyna.contract.context import (
    Account,
    Answer,
    Ended,
    Gateway,
    Key,
    Model,
    Plan,
    RequestContext,
    Route,
    Watcher,
)
from ezkielyna.contract.errors import (
    GatewayError,
    InvalidRequest,
    RateLimited,
    Unsupported,
    UpstreamError,
    UpstreamTimeout,
)
from ezkielyna.contract.hookspecs import hookimpl
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.limits import Limits, Override, Scope, scopes
from ezkielyna.contract.money import Bill, BillLine, Nano, Price, nano, usd, usd_json
from ezkielyna.contract.pages import ConsolePage, Visit
from ezkielyna.contract.payment import (
    Button,
    Continuation,
    Desk,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
    PaymentSettings,
    PaymentState,
)
from ezkielyna.contract.plugin import CONTRACT_VERSION, Plugin, PluginSettings
from ezkielyna.contract.provider import (
    Delivered,
    Exchange,
    Headers,
    Provider,
    ProviderSettings,
    TimeLimits,
    UpstreamRequest,
)
from ezkielyna.contract.requests import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ImageRequest,
    Media,
)
from ezkielyna.contract.usage import Bucket, Usage, chat_usage
from ezkielyna.contract.window import Window
from ezkielyna.wire.sse import Event, EventReader

__all__ = [
    "CONTRACT_VERSION",
    "Account",
    "Answer",
    "ApiRequest",
    "Bill",
    "BillLine",
    "BillingPolicy",
    "BillingSettings",
    "Bucket",
    "Button",
    "ChatRequest",
    "CompletionRequest",
    "ConsolePage",
    "Continuation",
    "Delivered",
    "Desk",
    "EmbeddingRequest",
    "Ended",
    "Event",
    "EventReader",
    "Exchange",
    "Gateway",
    "GatewayError",
    "Headers",
    "ImageRequest",
    "InvalidRequest",
    "Key",
    "Limits",
    "Media",
    "Model",
    "Nano",
    "Order",
    "Override",
    "PaymentEvent",
    "PaymentMethod",
    "PaymentRefused",
    "PaymentSettings",
    "PaymentState",
    "Permit",
    "Plan",
    "Plugin",
    "PluginSettings",
    "Price",
    "Provider",
    "ProviderSettings",
    "RateLimited",
    "RateLimiter",
    "RequestContext",
    "Route",
    "Scope",
    "Standing",
    "TimeLimits",
    "Unsupported",
    "UpstreamError",
    "UpstreamRequest",
    "UpstreamTimeout",
    "Usage",
    "Visit",
    "Watcher",
    "Window",
    "chat_usage",
    "hookimpl",
    "nano",
    "scopes",
    "usd",
    "usd_json",
]
