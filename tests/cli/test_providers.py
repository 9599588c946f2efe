"""`ezkielyna providers test NAME`: one tiny call, and never a key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.main import main
from ezkielyna.testing.dialect import JSON, chat_answer, usage
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering

SECRET = "sk-proj-0123456789abcdefghij"
CONFIG = """
plugins = ["openai"]
[providers.lab]
kind = "openai"
base_url = "{url}/v1"
api_key = "{secret}"
headers = {{ x-team = "very-private-team-token" }}
[providers.empty]
kind = "openai"
base_url = "{url}/v1"
[models.dear]
provider = "lab"
input = 5
output = 10
[models.small]
provider = "lab"
upstream_model = "small-v2"
input = 0.1
output = 0.2
[models.vectors]
provider = "lab"
input = 0.01
output = 0
[models.picture]
provider = "empty"
image = 0.04
"""

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    async def run(url: str, *words: str) -> Result:
        (tmp_path / "my.toml").write_text(CONFIG.format(url=url, secret=SECRET))
        command = ["--config", "my.toml", "providers", "test", *words]
        return await asyncio.to_thread(CliRunner().invoke, main, command)

    return run


async def test_a_provider_that_works(run: Run) -> None:
    async with ScriptedUpstream(answering(200, JSON, chat_answer("OK", 9, 2))) as upstream:
        result = await run(upstream.url, "lab", "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.output)
        assert found["ok"] is True
        assert (found["provider"], found["model"]) == ("lab", "small")
        assert (found["upstream_model"], found["said"]) == ("small-v2", "OK")
        assert (found["input_tokens"], found["output_tokens"], found["status"]) == (9, 2, 200)
        assert 0 <= found["latency_ms"] < 60_000
        [request] = upstream.requests
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        assert orjson.loads(request.body)["model"] == "small-v2"
        shown = await run(upstream.url, "lab")
        assert "lab answered after" in shown.output
        assert "small-v2 (public name small)" in shown.output
        assert "9 in, 2 out" in shown.output
        assert SECRET not in result.output + shown.output


async def test_a_model_by_its_name(run: Run) -> None:
    embedding = {"object": "list", "data": [{"embedding": [0.5], "index": 0}], "usage": usage(3, 0)}
    async with ScriptedUpstream(answering(200, JSON, orjson.dumps(embedding))) as upstream:
        found = json.loads((await run(upstream.url, "lab", "--model", "vectors", "--json")).output)
        assert (found["endpoint"], found["ok"], found["input_tokens"]) == ("embeddings", True, 3)
        assert upstream.requests[0].target == "/v1/embeddings"
        other = await run(upstream.url, "lab", "--model", "picture")
        assert other.exit_code == 1
        assert "dear, small, vectors" in other.output


async def test_the_upstreams_own_error_without_what_is_secret(run: Run) -> None:
    async def telling(turn: Turn) -> None:
        sent = turn.request.headers
        message = f"Bad key {sent['authorization']} of {sent['x-team']}: ask our sales."
        body = orjson.dumps({"error": {"message": message, "code": "bad_key"}})
        await turn.answer(401, JSON, body)

    async with ScriptedUpstream(telling) as upstream:
        for words in ((), ("--json",)):
            result = await run(upstream.url, "lab", *words)
            assert result.exit_code == 1
            assert "ask our sales" in result.output
            assert "bad_key" in result.output
            assert "401" in result.output
            assert SECRET not in result.output
            assert "very-private-team-token" not in result.output


async def test_an_upstream_that_is_not_there(run: Run) -> None:
    async with ScriptedUpstream() as gone:
        url = gone.url
    found = json.loads((await run(url, "lab", "--json")).output)
    assert (found["ok"], found["status"]) == (False, None)
    assert "could not be reached" in found["error"]
    assert "refused" in found["raw"].lower() or "errno" in found["raw"].lower()


async def test_what_cannot_be_tried(run: Run) -> None:
    unknown = await run("http://127.0.0.1:9", "lap")
    assert unknown.exit_code == 1
    assert "providers are: lab, empty" in unknown.output
    empty = await run("http://127.0.0.1:9", "empty")
    assert empty.exit_code == 1
    assert "sold by the token" in empty.output
