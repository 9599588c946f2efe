"""Every pair that was recorded of Anthropic, through the whole gateway to the official SDK."""

from __future__ import annotations

from collections.abc import Callable

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.recordings import Recording, folder, recordings
from ezkielyna.testing.tally import TABLE
from ezkielyna.testing.translated import Dialect, replay_all


def left_out(recording: Recording) -> str:
    """Return why a pair is not replayed; empty for those that are."""
    return {
        "models": "a list of models: the gateway answers with its own catalogue",
        "chat.completions": "Anthropic's own OpenAI endpoint: replayed with the compatible servers",
    }.get(recording.endpoint, "")


async def test_the_sdk_has_what_was_recorded(
    gateways: Gateways, dialect: Dialect, record_property: Callable[[str, object], None]
) -> None:
    folder()
    every = recordings(provider="anthropic")
    out = {one.id: reason for one in every if (reason := left_out(one))}
    tally = await replay_all(gateways, [one for one in every if one.id not in out], dialect)
    tally.left_out |= out
    record_property(TABLE, tally.table())
    tally.check(every)
