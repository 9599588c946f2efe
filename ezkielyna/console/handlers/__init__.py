"""One file a topic; `TOPICS` is all of them."""

from __future__ import annotations

from ezkielyna.console.handlers import (
    activity,
    admin,
    admin_accounts,
    admin_models,
    admin_plugins,
    admin_providers,
    billing,
    docs,
    health,
    keys,
    landing,
    live,
    login,
    models,
    overview,
    payments,
    playground,
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
    overview.TOPIC,
    live.TOPIC,
    usage.TOPIC,
    activity.TOPIC,
    keys.TOPIC,
    billing.TOPIC,
    playground.TOPIC,
    models.TOPIC,
    docs.TOPIC,
    settings.TOPIC,
    health.TOPIC,
    payments.TOPIC,
    admin.TOPIC,
    admin_accounts.TOPIC,
    admin_providers.TOPIC,
    admin_models.TOPIC,
    admin_plugins.TOPIC,
)
