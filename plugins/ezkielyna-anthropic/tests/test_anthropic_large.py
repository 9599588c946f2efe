"""An image of 10 MiB: nobody waits for its translation, and it is copied twice, not more."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.large import LONGEST_S, MOST_SIZES, longest_turn_s, sizes_held
from ezkielyna_anthropic.provider import AnthropicProvider

TABLES: dict[str, Any] = {
    "plugins": ["openai", "anthropic"],
    "providers": {"lab": {"kind": "anthropic"}},
    "models": {"free-lab": {"upstream_model": "claude-haiku-4-5"}},
}
ANSWER = orjson.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "A cat."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }
)


async def test_nobody_waits_for_a_large_image(gateways: Gateways) -> None:
    found = await longest_turn_s(gateways, ANSWER, TABLES)
    print(f"\nthe longest turn of the loop took {found * 1000:.1f} ms of CPU")
    assert found <= LONGEST_S


def test_a_large_image_is_copied_twice() -> None:
    settings = AnthropicProvider.Settings(base_url="http://upstream.test/v1")
    assert sizes_held(AnthropicProvider("lab", settings)) <= MOST_SIZES
