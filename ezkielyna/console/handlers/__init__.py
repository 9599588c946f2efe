"""One file a topic; `TOPICS` is all of them."""

from __future__ import annotations

from ezkielyna.console.handlers import (
    billing,
    health,
    keys,
    landing,
    login,
    payments,
    reset,
    settings,
    signup,
    usage,
    verify,
)
from ezkielyna.console.topic import Topic

TOPICS: tuple[Topic, ...] = (
    landing.TOPIC,
    signup.TOPIC,
    verify.TOPIC,
    login.TOPIC,
    reset.TOPIC,
    keys.TOPIC,
    usage.TOPIC,
    billing.TOPIC,
    payments.TOPIC,
    settings.TOPIC,
    health.TOPIC,
)
