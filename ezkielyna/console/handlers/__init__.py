"""One file a topic; `TOPICS` is all of them."""

from __future__ import annotations

from ezkielyna.console.handlers import health, landing, login, settings
from ezkielyna.console.topic import Topic

TOPICS: tuple[Topic, ...] = (
    landing.TOPIC,
    login.TOPIC,
    settings.TOPIC,
    health.TOPIC,
)
