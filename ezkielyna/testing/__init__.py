"""The kit that plugin authors use: contract suites, a scripted upstream, a gateway to serve with.

Installed with the core, its fixtures `scripted_upstream` and `serve_gateway` are there in every
pytest run; contract suites are classes to subclass.
"""

from ezkielyna.testing.asking import Asking
from ezkielyna.testing.contracts.billing import BillingPolicyContract
from ezkielyna.testing.contracts.limiter import RateLimiterContract
from ezkielyna.testing.contracts.payment import PaymentMethodContract
from ezkielyna.testing.contracts.provider import ProviderContract
from ezkielyna.testing.requests import make_context
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming
from ezkielyna.testing.scripts import Gate, cutting, garbling, stalling, trickling

__all__ = [
    "Asking",
    "BillingPolicyContract",
    "Gate",
    "PaymentMethodContract",
    "ProviderContract",
    "RateLimiterContract",
    "ScriptedUpstream",
    "Turn",
    "answering",
    "cutting",
    "garbling",
    "make_context",
    "stalling",
    "streaming",
    "trickling",
]
