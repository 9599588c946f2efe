"""An image of 10 MiB: nobody waits for its translation, and it is copied twice, not more."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.large import LONGEST_S, MOST_SIZES, longest_turn_s, sizes_held
from ezkielyna_gemini.provider import GeminiProvider

TABLES: dict[str, Any] = {
    "plugins": ["openai", "gemini"],
    "providers": {"lab": {"kind": "gemini"}},
    "models": {"free-lab": {"upstream_model": "gemini-2.5-flash"}},
}
ANSWER = orjson.dumps(
    {
        "candidates": [{"content": {"parts": [{"text": "A cat."}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3},
    }
)


async def test_nobody_waits_for_a_large_image(gateways: Gateways) -> None:
    found = await longest_turn_s(gateways, ANSWER, TABLES)
    print(f"\nthe longest turn of the loop took {found * 1000:.1f} ms of CPU")
    assert found <= LONGEST_S


def test_a_large_image_is_copied_twice() -> None:
    settings = GeminiProvider.Settings(base_url="http://upstream.test/v1")
    assert sizes_held(GeminiProvider("lab", settings)) <= MOST_SIZES
