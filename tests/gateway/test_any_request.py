"""Whatever a client sends: a 400 that names the field, or an answer. Never a 500.

Plugins for upstreams with a dialect of their own have this test too, with what theirs takes.
"""

from __future__ import annotations

from typing import Any

from ezkielyna.testing.anything import ask_anything
from ezkielyna.testing.dialect import chat_answer
from ezkielyna.testing.gateway import Gateways


def check(sent: dict[str, Any]) -> None:
    """Assert what every server that speaks OpenAI's dialect demands."""
    assert None not in sent.values()
    assert isinstance(sent["model"], str)
    assert sent["messages"]
    for message in sent["messages"]:
        assert isinstance(message["role"], str)
        assert isinstance(message.get("content", ""), str | list | None)
        assert isinstance(message.get("tool_calls", []), list | None)
    assert isinstance(sent.get("tools", []), list)
    assert isinstance(sent.get("stream", False), bool)
    for name in ("n", "max_tokens", "max_completion_tokens"):
        assert type(sent.get(name, 1)) is int, name


async def test_every_chat_is_refused_by_name_or_answered(gateways: Gateways) -> None:
    await ask_anything(gateways, "openai", chat_answer(), check)
