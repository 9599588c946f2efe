"""The request log: a line for every request, files that rotate, and the command."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from ezkielyna.cli.main import main
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna_requestlog.files import RotatingFile
from ezkielyna_requestlog.lines import Seen

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "a secret of mine"}]}
TABLES = {"plugins": ["openai", "requestlog"]}


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(raw) for raw in path.read_bytes().splitlines()]


async def test_every_request_has_a_line(gateways: Gateways) -> None:
    pieces = chat_stream(["one ", "two ", "three"])
    scripts = (
        answering(200, JSON, chat_answer()),
        streaming(pieces, delay_s=0.01),
        answering(500, JSON, b"{}"),
    )
    async with (
        ScriptedUpstream(*scripts) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        plain = await post(gateway.url, gateway.key, CHAT, user_agent="me/1.0")
        stream = await post(gateway.url, gateway.key, {**CHAT, "stream": True})
        await post(gateway.url, gateway.key, CHAT)
    path = gateway.data / "requestlog" / "requests.jsonl"  # all is written when it has shut down
    first, second, third = lines(path)
    assert first["request_id"] == plain.headers["x-request-id"]
    assert (first["account"], first["key"]) == (gateway.account, gateway.key_id)
    assert first["tokens"] == {"input": 8, "output": 2, "source": "upstream"}
    assert first["cost_usd"] == 0.00004
    assert first["user_agent"] == "me/1.0"
    assert "stream" not in first
    assert second["stream"]["bytes"] == len(stream.body)
    assert 4 <= second["stream"]["chunks"] <= len(pieces)
    assert second["duration_ms"] >= second["first_byte_ms"] >= 0
    assert (third["outcome"], third["status"], third["error"]) == (
        "upstream_failed",
        502,
        "upstream_error",
    )
    assert b"secret" not in path.read_bytes()
    assert gateway.key.encode() not in path.read_bytes()


def test_gaps_are_between_pieces() -> None:
    now = [10.0]
    seen = Seen(lambda: now[0])
    for at in (50.0, 50.5, 53.0, 53.1):
        now[0] = at
        seen.show(b"abc")
    assert (seen.chunks, seen.bytes, seen.longest_gap) == (4, 12, 2.5)


def test_files_are_rotated_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "new" / "log", max_bytes=10, keep=2)
    for number in range(5):
        log.write([b"line %d\n" % number, b"more\n"])
    log.close()
    texts = [log.path, log.rotated(1), log.rotated(2)]
    assert [path.read_bytes()[:6] for path in texts] == [b"line 4", b"line 3", b"line 2"]
    assert not log.rotated(3).exists()


def test_a_file_that_somebody_moved_is_opened_anew(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "log", max_bytes=1000, keep=2)
    log.write([b"one\n"])
    log.path.rename(tmp_path / "taken")
    log.write([b"two\n"])
    log.close()
    assert log.path.read_bytes() == b"two\n"


WRITER = """
import sys
from pathlib import Path
from ezkielyna_requestlog.files import RotatingFile

log = RotatingFile(Path(sys.argv[1]), max_bytes=2000, keep=1000)
for number in range(300):
    log.write([f"{sys.argv[2]} {number} {'x' * 40}\\n".encode()])
"""


def test_processes_that_rotate_one_file_lose_and_mix_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log")]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b", "c")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = [
        line.split()[:2]
        for path in tmp_path.iterdir()
        if not path.name.endswith(".lock")
        for line in path.read_text().splitlines()
    ]
    assert sorted(found) == sorted([name, str(n)] for name in "abc" for n in range(300))
    assert len(list(tmp_path.iterdir())) > 5


async def test_lines_are_written_while_the_gateway_runs(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        await post(gateway.url, gateway.key, CHAT)
        path = gateway.data / "requestlog" / "requests.jsonl"
        async with asyncio.timeout(15):
            while not path.read_bytes():
                await asyncio.sleep(0.01)


LOGGED = {
    "time": "2026-11-22T18:00:00.000+00:00",
    "request_id": "req_1",
    "account": "acc",
    "model": "m",
    "outcome": "ok",
    "status": 200,
    "tokens": {"input": 3, "output": 4, "source": "upstream"},
    "duration_ms": 12,
}


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    (tmp_path / "my.toml").write_text('plugins = ["requestlog"]\n')
    folder = tmp_path / "data" / "requestlog"
    folder.mkdir(parents=True)
    rows = [LOGGED, {**LOGGED, "request_id": "req_2", "outcome": "failed", "model": "n"}]
    (folder / "requests.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return ["--config", str(tmp_path / "my.toml"), "--data", str(tmp_path / "data")]


def test_the_command_shows_the_last_lines(config: list[str]) -> None:
    for arguments in ([*config, "requestlog"], ["requestlog", *config]):
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        first, second = result.stdout.splitlines()
        assert "req_1" in first
        assert "      7 tokens" in first
        assert "req_2" in second
    failed = CliRunner().invoke(main, ["requestlog", *config, "--failed", "--json"])
    assert [orjson.loads(row)["request_id"] for row in failed.stdout.splitlines()] == ["req_2"]
    assert "req_1" in CliRunner().invoke(main, ["requestlog", *config, "--model", "m"]).stdout


def test_the_command_is_in_the_help_of_its_configuration(config: list[str]) -> None:
    shown = CliRunner().invoke(main, [*config, "--help"]).stdout
    assert "Show the last requests of the log" in shown
    assert "requestlog" not in CliRunner().invoke(main, ["--help"]).stdout
    unknown = CliRunner().invoke(main, ["requestlog"])
    assert unknown.exit_code == 2
    assert "No such command 'requestlog'" in unknown.stderr


def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        RotatingFile(tmp_path / "file" / "log", 1024, 1)
    assert os.listdir(tmp_path) == ["file"]
