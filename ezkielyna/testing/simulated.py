"""Tables of a gateway whose models are simulated: any client can walk through it."""

from __future__ import annotations

from typing import Any

_PRICED = {"input": "1", "output": "4", "context": 32_000, "max_output": 4_000}

SIMULATED: dict[str, Any] = {
    "plugins": ["openai", "simulator"],
    "providers": {"simulated": {"kind": "simulator"}},
    "models": {
        "sim-gpt": {"provider": "simulated", **_PRICED},
        "sim-embedding": {"provider": "simulated", "input": "0.02", "output": 0},
        "sim-image": {"provider": "simulated", "image": "0.04"},
        "vendor/sim:large": {"provider": "simulated", "upstream_model": "sim-gpt", **_PRICED},
    },
}
"""A chat at 1 and 4 USD per million tokens, embeddings at 0.02, images at 0.04 USD a piece."""
