"""What OpenAI and the servers that speak its API really sent, through the whole gateway.

The recorded request goes in, the recorded answer comes out: the same events and documents, but
for the usage (asked for, priced, shown to who wants it) and for the repairs that the provider's
README lists. What is recorded is read here by other means than the gateway's.
"""

from __future__ import annotations

import random
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import httpx2
import orjson
import pytest
from openai import APIError, AsyncOpenAI

from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.player import Player
from ezkielyna.testing.recordings import SKIPPED, Recording, folder, recordings
from ezkielyna.testing.replay import (
    ERRORS,
    asked_of_upstream,
    asked_with,
    cost_of,
    events_in,
    first_said,
    foreign,
    left_out,
    told_error,
    told_events,
    told_plain,
    was_cut,
)
from ezkielyna.testing.scripted import ScriptedUpstream, head
from ezkielyna.testing.tally import TABLE, Tally
from ezkielyna_openai.presets import COMPATIBLE, PRESETS, Preset

Document = dict[str, Any]

ENDPOINTS = {
    "chat.completions": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "images.generations": "/images/generations",
}
IN_NAME = ("model", "messages", "prompt", "input")
"""Parameters that the SDK's methods have names for; all others go into the body as they are."""

ROOM = {"context": 10_000_000, "max_output": 1_000_000}
"""More than any recording used, as some requests are made up: no usage is absurd."""

RATES = {"input": "1", "cached_input": "0.5", "output": "4"}


def served() -> list[Recording]:
    """Return every recording of an endpoint that the provider serves."""
    return [recording for recording in recordings() if recording.endpoint in ENDPOINTS]


def replayed(provider: str) -> list[Recording]:
    return [found for found in served() if found.provider == provider and not left_out(found)]


def each_provider() -> pytest.MarkDecorator:
    names = sorted({recording.provider for recording in served()})
    skipped = pytest.param("", marks=pytest.mark.skip(reason=SKIPPED), id="no-recordings")
    return pytest.mark.parametrize("provider", names or [skipped])


def preset_of(provider: str) -> tuple[str, Preset]:
    name = provider.rpartition("/")[2]
    return (name, PRESETS[name]) if name in PRESETS else ("compatible", COMPATIBLE)


def tables(provider: str, chosen: list[Recording]) -> dict[str, Any]:
    """Return the configuration in which the recorded names are the public ones."""
    models: dict[str, Any] = {
        model_of(recording): {"provider": "lab", **RATES, **ROOM}
        | ({"image": "0.04"} if recording.endpoint == "images.generations" else {})
        for recording in chosen
    }
    return {"providers": {"lab": {"preset": preset_of(provider)[0]}}, "models": models}


def model_of(recording: Recording) -> str:
    body = recording.request.body
    sent = orjson.loads(body) if body else {}
    return str(sent.get("model") or recording.model or "unnamed")


@dataclass
class Replay:
    """One provider's gateway with its player; `wrong` collects what was not as recorded."""

    gateway: RunningGateway
    player: Player
    client: httpx2.AsyncClient
    preset: Preset
    wrong: list[str] = field(default_factory=list)

    async def ask(self, recording: Recording, body: Document) -> httpx2.Response:
        self.player.asked = {}
        return await self.client.post(
            self.gateway.api + ENDPOINTS[recording.endpoint],
            content=orjson.dumps(body),
            headers={**self.gateway.headers, "content-type": "application/json"},
        )

    def check(self, recording: Recording, what: str, got: Any, expected: Any) -> None:
        if got != expected:
            if isinstance(got, list) and isinstance(expected, list):
                pairs = zip_longest(got, expected)
                got, expected = next(pair for pair in pairs if pair[0] != pair[1])
            self.wrong.append(f"{recording.id}: {what}\n  got      {got}\n  expected {expected}")

    async def plain(self, recording: Recording) -> None:
        """Replay a plain answer or an error."""
        self.player.plain(recording)
        body = asked_with(recording, model_of(recording))
        response = await self.ask(recording, body)
        if recording.status != 200:
            wrong = told_error(recording, response.status_code, response.json(), self.player.asked)
            self.check(recording, "error", wrong, "")
            return
        if response.status_code != 200:
            self.wrong.append(f"{recording.id}: {response.status_code} {response.text[:300]}")
            return
        asked = asked_of_upstream(body, self.preset)
        self.check(recording, "request", self.player.asked, asked)
        got = response.json()
        shown, expected = got.pop("usage", None), told_plain(recording, self.preset.repairs)
        usage = expected.pop("usage", None)
        self.check(recording, "answer", got, expected)
        self.usage(recording, shown, usage, len(got.get("data", [])))

    def usage(self, recording: Recording, shown: Any, recorded: Any, items: int = 0) -> None:
        """Check the usage that the client sees: the recorded one with our price."""
        images = items if recording.endpoint == "images.generations" else 0
        if not recorded and not images:
            self.check(recording, "usage", shown or None, None)
            return
        told, cost = cost_of(recorded or {}, images)
        self.check(recording, "cost", round((shown or {}).get("cost", -1) * 1e9), cost)
        rest = {name: value for name, value in (shown or {}).items() if name in told}
        self.check(recording, "usage", rest, told)
        self.check(recording, "private", {"cost_details", "is_byok"} & (shown or {}).keys(), set())

    async def stream(self, recording: Recording, pieces: list[bytes], *, wants: bool) -> None:
        """Replay a stream."""
        self.player.pieces(pieces)
        body = asked_with(recording, model_of(recording), wants=wants)
        response = await self.ask(recording, body)
        self.check(
            recording, "request", self.player.asked, asked_of_upstream(body, self.preset, True)
        )
        expected, usage = told_events(recording, self.preset.repairs, wants=wants)
        blocks = response.content.split(b"\n\n")
        cut = was_cut(recording)
        self.check(recording, "end", blocks.pop() if not cut else b"", b"")
        if cut:
            self.check(recording, "cut", b'"error"' in response.content, True)
            self.check(recording, "cut", b"[DONE]" in response.content, False)
            return
        self.check(recording, "type", response.headers["content-type"], "text/event-stream")
        self.check(recording, "end", blocks.pop(), b"data: [DONE]")
        events = [orjson.loads(block.removeprefix(b"data: ")) for block in blocks]
        if wants and usage:
            last = events.pop()
            self.check(recording, "last", last["choices"], [])
            self.usage(recording, last["usage"], usage)
        self.check(recording, f"events (wants={wants})", events, expected)


async def walk(replay: Replay, chosen: list[Recording]) -> Counter[str]:
    """Replay each; streams whole and with usage, then with one random cut and without."""
    modes: Counter[str] = Counter()
    for recording in chosen:
        modes[recording.mode] += 1
        body = recording.response.body
        if recording.mode == "json":
            await replay.plain(recording)
            continue
        await replay.stream(recording, [body], wants=True)
        position = random.Random(recording.id).randrange(1, len(body))
        await replay.stream(recording, [body[:position], body[position:]], wants=False)
    return modes


@each_provider()
async def test_the_client_receives_what_was_recorded(gateways: Gateways, provider: str) -> None:
    chosen, player = replayed(provider), Player()
    async with (
        ScriptedUpstream(player.script) as upstream,
        gateways(upstream.url, tables=tables(provider, chosen), credit="1000000") as gateway,
        httpx2.AsyncClient(timeout=20) as client,
    ):
        replay = Replay(gateway, player, client, preset_of(provider)[1])
        modes = await walk(replay, chosen)
        replay.wrong += await through_the_sdk(replay, chosen)
    assert not replay.wrong, f"{len(replay.wrong)} differences:\n" + "\n".join(replay.wrong)
    assert modes.total() == len(chosen) > 0


async def through_the_sdk(replay: Replay, chosen: list[Recording]) -> list[str]:
    """Return how the official SDK's objects differ from what was recorded."""
    wrong = []
    async with AsyncOpenAI(
        base_url=replay.gateway.api, api_key=replay.gateway.key, max_retries=0
    ) as sdk:
        for recording in chosen:
            if recording.mode == "json" or recording.status != 200:
                replay.player.plain(recording)
            else:
                replay.player.pieces([recording.response.body])
            try:
                got, expected = await seen(sdk, recording), said(recording, replay.preset)
            except APIError as error:
                got, expected = type(error).__name__, failed(recording)
            if got != expected:
                wrong.append(
                    f"{recording.id}: the SDK has {got!r:.500}, expected {expected!r:.500}"
                )
    return wrong


def failed(recording: Recording) -> str:
    """Return the SDK's name for the error that the client should get."""
    if was_cut(recording):
        return "APIError"
    asked = orjson.loads(recording.request.body or b"{}")
    status = ERRORS[recording.status] if recording.status != 200 else 200
    names = {400: "BadRequestError", 429: "RateLimitError"}
    return names.get(status, "InternalServerError") if status != 200 else f"an answer to {asked}"


def said(recording: Recording, preset: Preset) -> Any:
    """Return what matters of a recorded answer, as `seen` has it."""
    if recording.endpoint == "chat.completions":
        return first_said(recording, preset.repairs)
    if recording.mode == "sse":
        choices = [choice for event in events_in(recording) for choice in event["choices"]]
        return "".join(choice["text"] for choice in choices if not choice.get("index"))
    document = told_plain(recording, preset.repairs)
    if recording.endpoint == "completions":
        return document["choices"][0]["text"]
    if recording.endpoint == "embeddings":
        return [size_of(item["embedding"]) for item in document["data"]]
    return [item.get("b64_json") or item.get("url") for item in document["data"]]


def size_of(vector: list[float] | str) -> int:
    return len(b64decode(vector)) // 4 if isinstance(vector, str) else len(vector)


async def seen(sdk: AsyncOpenAI, recording: Recording) -> Any:
    """Ask with the SDK, and return what matters of its objects."""
    body = asked_with(recording, model_of(recording))
    needed = {name: body.pop(name) for name in (*IN_NAME, "stream") if name in body}
    if recording.endpoint == "chat.completions":
        answer: Any = await sdk.chat.completions.create(**needed, extra_body=body)
        if recording.mode == "sse":
            return await streamed(answer)
        message = answer.choices[0].message
        calls = [call.to_dict()["function"] for call in message.tool_calls or []]
        return message.content or "", calls
    if recording.endpoint == "completions":
        answer = await sdk.completions.create(**needed, extra_body=body)
        if recording.mode == "json":
            return answer.choices[0].text
        choices = [choice async for chunk in answer for choice in chunk.choices]
        return "".join(choice.text for choice in choices if not choice.index)
    if recording.endpoint == "embeddings":
        vectors = await sdk.embeddings.create(**needed, extra_body=body)
        return [size_of(item.embedding) for item in vectors.data]
    images = await sdk.images.generate(**needed, extra_body=body)
    return [item.b64_json or item.url for item in images.data or []]


async def streamed(stream: Any) -> tuple[str, list[Document]]:
    text = ""
    calls: dict[int, Document] = {}
    async for chunk in stream:
        for choice in chunk.choices[:1]:
            if choice.index:
                continue
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                known = calls.setdefault(call.index, {"name": "", "arguments": ""})
                if call.function is not None:
                    known["name"] = call.function.name or known["name"]
                    known["arguments"] += call.function.arguments or ""
    return text, list(calls.values())


def short_stream(provider: str) -> Recording:
    """Return the shortest complete stream that says more than a word."""
    streams = (found for found in replayed(provider) if found.mode == "sse" and not was_cut(found))
    return min(
        (found for found in streams if len(events_in(found)) > 3),
        key=lambda found: len(found.response.body),
    )


@pytest.mark.parametrize(
    "provider",
    ["openai", "compat/deepseek", "compat/groq", "compat/llamacpp", "compat/mistral"],
)
async def test_cuts_anywhere_change_nothing(gateways: Gateways, provider: str) -> None:
    """Send it byte by byte; then cut all that is on the wire, head and framing too, in two."""
    folder()
    recording, player = short_stream(provider), Player()
    body = recording.response.body
    async with (
        ScriptedUpstream(player.script) as upstream,
        gateways(upstream.url, tables=tables(provider, [recording])) as gateway,
        httpx2.AsyncClient(timeout=20) as client,
    ):
        replay = Replay(gateway, player, client, preset_of(provider)[1])
        asked = asked_with(recording, model_of(recording), wants=True)
        player.pieces([body])
        whole = (await replay.ask(recording, asked)).content
        assert whole.endswith(b"data: [DONE]\n\n")
        player.pieces([body[at : at + 1] for at in range(len(body))])
        assert (await replay.ask(recording, asked)).content == whole
        raw = on_the_wire(body)
        for position in range(1, len(raw), 1 + len(raw) // 100):
            player.cut_at(raw, position)
            assert (await replay.ask(recording, asked)).content == whole, position


def on_the_wire(body: bytes) -> bytes:
    """Return a whole streamed answer in two chunks of HTTP."""
    raw = head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    for piece in (body[:100], body[100:]):
        raw += b"%x\r\n%b\r\n" % (len(piece), piece)
    return raw + b"0\r\n\r\n"


def test_what_is_replayed_and_what_is_left_out(
    record_property: Callable[[str, object], None],
) -> None:
    """Walked over by the tests before and after this one: as recorded, or as another API's."""
    folder()
    every = [one for one in recordings() if one.provider.partition("/")[0] in ("openai", "compat")]
    tally, walked = Tally(), {recording.id for recording in served() if not left_out(recording)}
    for recording in every:
        if recording.endpoint == "models":
            tally.left_out[recording.id] = "models: the gateway answers with its own catalogue"
        elif recording.id in walked or foreign(recording):
            compared = recording.id in walked and recording.status == 200
            compared = compared and recording.request.body is not None
            tally.count(recording, request=compared)
        else:
            tally.left_out[recording.id] = left_out(recording)
    record_property(TABLE, tally.table())
    tally.check(every)


async def test_answers_of_other_apis_become_errors(gateways: Gateways) -> None:
    folder()
    chosen, player = [recording for recording in served() if foreign(recording)], Player()
    async with (
        ScriptedUpstream(player.script) as upstream,
        gateways(upstream.url, tables=tables("openai", chosen)) as gateway,
        httpx2.AsyncClient(timeout=20) as client,
    ):
        replay = Replay(gateway, player, client, preset_of("openai")[1])
        for recording in chosen:
            player.plain(recording)
            asked = asked_with(recording, model_of(recording))
            error = (await replay.ask(recording, asked)).json()["error"]
            expected = (502, "upstream_error") if player.asked else (400, "invalid_request")
            replay.check(recording, "error", (error["code"], error["type"]), expected)
    assert not replay.wrong, "\n".join(replay.wrong)
