"""Every pair that was recorded of Anthropic, through the whole gateway to the official SDK."""

from __future__ import annotations

import pytest

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.recordings import Recording, folder, recordings
from ezkielyna.testing.translated import Dialect, replay_all


def left_out(recording: Recording) -> str:
    """Return why a pair is not replayed; empty for those that are."""
    return "" if recording.endpoint == "messages" else f"the endpoint {recording.endpoint}"


async def test_the_sdk_has_what_was_recorded(
    gateways: Gateways, dialect: Dialect, capsys: pytest.CaptureFixture[str]
) -> None:
    folder()
    every = recordings(provider="anthropic")
    out = {one.id: reason for one in every if (reason := left_out(one))}
    tally = await replay_all(gateways, [one for one in every if one.id not in out], dialect)
    with capsys.disabled():
        tally.print(print, out)
    assert not tally.wrong, f"{len(tally.wrong)} differences:\n" + "\n".join(tally.wrong)
    assert tally.answers["every pair"] == len(every) - len(out)
    assert len(out) + len(tally.unsaid) < len(every) * 0.02
