"""Every recorded request, written as an OpenAI request, gives what was recorded again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, InvalidRequest
from ezkielyna.testing.recordings import Recording, recordings
from ezkielyna.testing.translated import Dialect, NoCounterpart
from ezkielyna_anthropic import AnthropicProvider

Json = dict[str, Any]
PROVIDER = AnthropicProvider(
    "lab", AnthropicProvider.Settings(api_key="k", system_in_place=True, show_thinking=False)
)


def pairs() -> list[Recording]:
    return [
        recording
        for recording in recordings(provider="anthropic", endpoint="messages")
        if recording.request.body
    ]


@pytest.mark.skipif(not pairs(), reason="no recordings")
def test_recorded_requests_come_out_again(dialect: Dialect) -> None:
    everything = pairs()
    features: Counter[str] = Counter()
    left_out: list[str] = []
    for recording in everything:
        recorded = orjson.loads(recording.request.body or b"")
        verdict = compared(recording, recorded, dialect)
        if verdict is None:
            features.update(recording.covers)
            features[f"mode:{recording.mode}"] += 1
        else:
            left_out.append(f"{recording.id}: {verdict}")
    report(features, len(everything), left_out)
    assert len(left_out) < len(everything) * 0.02


def compared(recording: Recording, recorded: Json, dialect: Dialect) -> str | None:
    """Return None for a pair that agrees, else why it is left out; fails for one that differs."""
    try:
        request = ChatRequest.parse(orjson.dumps(dialect.asked(recording)))
        exchange = PROVIDER.exchange(request, recorded["model"])
    except NoCounterpart as reason:
        return str(reason)
    except InvalidRequest:
        # Refused here as it was there, or else left out and counted.
        return None if recording.status == 400 else "refused here"
    sent = orjson.loads(exchange.request.body)
    assert dialect.normal(sent) == dialect.normal(recorded), recording.id
    assert exchange.dropped == ()
    return None


def report(features: Counter[str], total: int, left_out: list[str]) -> None:
    print(f"\n{'pairs by feature':<40}{'agree':>6}")
    for feature, count in sorted(features.items()):
        print(f"{feature:<40}{count:>6}")
    print(f"{total} pairs, left out: {len(left_out)}")
    for line in left_out:
        print("  ", line)
