"""Recordings of an upstream with a dialect of its own, through the whole gateway to the SDK.

A plugin's tests say what they know of their upstream by a `Dialect`, by other means than the
plugin: the request that means the recorded one, and what the recorded answer says.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

import orjson
from openai import APIStatusError, AsyncOpenAI

from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.player import Player
from ezkielyna.testing.recordings import Recording
from ezkielyna.testing.said import RATES, Said, of_completion, of_stream
from ezkielyna.testing.scripted import ScriptedUpstream
from ezkielyna.testing.tally import Tally

Document = dict[str, Any]


class NoCounterpart(Exception):
    """OpenAI's dialect cannot say this."""


class Dialect(Protocol):
    """What tests know of an upstream."""

    tables: Document
    """The configuration of its provider, which is called `lab`."""

    model: str
    """The model of recordings that do not name one."""

    def asked(self, recording: Recording) -> Document:
        """Return OpenAI's request that means the recorded one; raises NoCounterpart."""

    def normal(self, body: Document) -> Document:
        """Return a request of the upstream without differences that mean nothing to it."""

    def wire(self, recording: Recording) -> bytes:
        """Return a recorded stream as the provider's requests make it come."""

    def said(self, recording: Recording) -> Said:
        """Return what a recorded answer says."""

    def status(self, recording: Recording) -> int:
        """Return the status that a client should get."""


class SdkReplay:
    """Asks a gateway with the official SDK while a player plays the upstream."""

    def __init__(self, gateway: RunningGateway, sdk: AsyncOpenAI, player: Player) -> None:
        self.gateway = gateway
        self.sdk = sdk
        self.player = player
        self.tally = Tally()

    async def replay(self, recording: Recording, dialect: Dialect) -> None:
        """Replay one pair and note what is not as recorded."""
        streamed = recording.mode != "json"
        body, compared = self._request(recording, dialect, streamed)
        self._play(recording, dialect, streamed)
        self.player.asked = {}
        try:
            said = await self._ask(body, streamed)
        except APIStatusError as error:
            self._note(recording, error.status_code, dialect.status(recording))
            compared = compared and bool(self.player.asked)  # else it was refused as upstream did
        except AssertionError as fault:
            self.tally.wrong.append(f"{recording.id}: {fault}")
        else:
            self._note(recording, 200, dialect.status(recording))
            expected = dialect.said(recording)
            if not expected.tokens:
                said.tokens = {}  # what the upstream did not count the core did
            if difference := said.differs(expected):
                self.tally.wrong.append(f"{recording.id}: {difference}")
        self.tally.count(recording, request=compared)
        if compared:
            sent = orjson.loads(recording.request.body or b"{}")
            self._note(recording, dialect.normal(self.player.asked), dialect.normal(sent))

    def _request(
        self, recording: Recording, dialect: Dialect, streamed: bool
    ) -> tuple[Document, bool]:
        """Return the request to send, and whether the recorded one can be compared."""
        body: Document = {"messages": [{"role": "user", "content": "Hello"}]}
        compared = False
        if recording.request.body:
            try:
                body, compared = dialect.asked(recording), True
            except NoCounterpart as reason:
                self.tally.unsaid[recording.id] = str(reason)
        body["model"] = public_name(recording, dialect)
        if streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body, compared

    def _play(self, recording: Recording, dialect: Dialect, streamed: bool) -> None:
        if not streamed or recording.status != 200:
            self.player.plain(recording)
            return
        raw = dialect.wire(recording)
        cut = random.Random(recording.id).randrange(1, len(raw))  # noqa: S311 - where to cut
        self.player.pieces([raw[:cut], raw[cut:]])

    async def _ask(self, body: Document, streamed: bool) -> Said:
        rest = dict(body)
        named = {name: rest.pop(name) for name in ("model", "messages", "stream") if name in rest}
        answer: Any = await self.sdk.chat.completions.create(**named, extra_body=rest)
        return await of_stream(answer) if streamed else of_completion(answer)

    def _note(self, recording: Recording, got: Any, expected: Any) -> None:
        if got != expected:
            self.tally.wrong.append(f"{recording.id}:\n  got      {got}\n  expected {expected}")


def public_name(recording: Recording, dialect: Dialect) -> str:
    """Return the model's name, which is the recorded one."""
    return (recording.model or dialect.model).removeprefix("models/")


async def replay_all(gateways: Gateways, chosen: list[Recording], dialect: Dialect) -> Tally:
    """Replay recordings through one gateway; the tally says which and what was not as recorded."""
    player = Player()
    names = {public_name(recording, dialect) for recording in chosen}
    room = {"context": 10_000_000, "max_output": 1_000_000}  # more than any recording used
    models = {name: {"provider": "lab", **RATES, **room} for name in names}
    tables = {**dialect.tables, "models": models}
    async with (
        ScriptedUpstream(player.script) as upstream,
        gateways(upstream.url, tables=tables, credit="1000000") as gateway,
        AsyncOpenAI(base_url=gateway.api, api_key=gateway.key, max_retries=0) as sdk,
    ):
        replay = SdkReplay(gateway, sdk, player)
        for recording in chosen:
            await replay.replay(recording, dialect)
    return replay.tally
