"""Processes: `serve` as it is started by people, workers that die, signals that drain."""

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from ezkielyna.server import quieten_collector
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.processes import Serving, ezkielyna, serving

CHAT = {"model": "sim-gpt", "messages": [{"role": "user", "content": "Hello"}]}


def demo_key(data: Path) -> str:
    return str(json.loads((data / "demo.json").read_text())["key"])


def chat(process: Serving, data: Path, **fields: object) -> httpx2.Response:
    return httpx2.post(
        f"{process.url}/v1/chat/completions",
        json={**CHAT, **fields},
        headers={"Authorization": f"Bearer {demo_key(data)}"},
        timeout=30,
    )


def test_the_demo_prints_a_curl_that_streams(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(["--demo", "--port", "0"], data, forked=False) as process:
        url = process.url
        command = (
            process.output[process.output.index("curl ") :].split("\n\n")[0].split("listening")[0]
        )
        assert f"{url}/api/v1/chat/completions" in command
        ran = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True
        )
        assert ran.stdout.count("data: ") > 5
        assert ran.stdout.endswith("data: [DONE]\n\n")
        first_key = demo_key(data)
        assert (data / "demo.json").stat().st_mode & 0o777 == 0o600
        assert process.stop() == 0
    with serving(["--demo", "--port", "0"], data) as process:
        assert process.url
        assert demo_key(data) == first_key
        assert first_key in process.output
        assert chat(process, data).status_code == 200
        log_in_with_what_is_printed(process)
    assert "demo@ezkielyna.local" in process.output


def log_in_with_what_is_printed(process: Serving) -> None:
    printed = process.wait_for("Password").split()[1]
    with httpx2.Client(base_url=process.url, timeout=30) as browser:
        token = re.search(r'name="_csrf" value="(\w+)"', browser.get("/login").text)
        assert token is not None
        form = {"_csrf": token[1], "email": "demo@ezkielyna.local", "password": printed}
        assert browser.post("/login", data=form).status_code == 303
        assert "demo@ezkielyna.local" in browser.get("/settings").text


def test_commands_work_while_the_gateway_runs_and_while_it_does_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(["--demo", "--port", "0"], data) as process:
        assert chat(process, data).status_code == 200
        shown = ezkielyna("accounts", "list", "--json", data=data)
        assert "demo@ezkielyna.local" in shown.stdout, shown.stderr
        process.stop()
    verified = ezkielyna("ledger", "verify", data=data)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    used = ezkielyna("usage", "demo@ezkielyna.local", "--csv", data=data)
    header, *rows = used.stdout.splitlines()
    assert header.startswith("request_id,started_at,key,model,provider,endpoint,outcome,status")
    assert len(rows) == 1


def test_a_taken_port_is_refused_with_a_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = ezkielyna("serve", "--port", port, data=tmp_path / "data")
        assert ran.returncode == 1
        assert "Address already in use" in ran.stderr


def test_sigterm_lets_streams_end_and_refuses_new_requests(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(["--demo", "--port", "0"], data) as process:
        body = {**CHAT, "stream": True, "simulate": {"tokens": 40, "pace": 20}}
        headers = {"Authorization": f"Bearer {demo_key_of(process, data)}"}
        with httpx2.stream(
            "POST", f"{process.url}/v1/chat/completions", json=body, headers=headers, timeout=30
        ) as response:
            arriving = response.iter_raw()
            received = next(arriving)
            process.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(httpx2.ConnectError):
                httpx2.get(f"{process.url}/healthz")
            received += b"".join(arriving)
        assert received.endswith(b"data: [DONE]\n\n")
        assert process.process.wait(10) == 0
    assert ezkielyna("ledger", "verify", data=data).returncode == 0


def demo_key_of(process: Serving, data: Path) -> str:
    assert process.url
    return demo_key(data)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    unlimited = {"EZKIELYNA_PLANS__DEFAULT__RPM": "0"}
    with serving(["--demo", "--port", "0", "--workers", "2"], data, **unlimited) as process:
        assert process.url
        before = worker_ids(process)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + 15
        while len(after := set(worker_ids(process))) < 2 or before[0] in after:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.wait_for("a worker died")
        for _ in range(20):
            assert chat_until_it_connects(process, data).status_code == 200
        assert process.stop() == 0


WORKER = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
first = not any(folder.iterdir())
(folder / str(os.getpid())).touch()
while not first and len(list(folder.iterdir())) < 3:
    time.sleep(0.01)
os.write(int(os.environ["EZKIELYNA_READY_FD"]), b"1")
time.sleep(600)
"""
SUPERVISOR = """
import os, signal, sys
from ezkielyna.server import Supervisor
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
assert Supervisor(command, 3).run(lambda: os.kill(os.getpid(), signal.SIGTERM))
"""


def test_workers_but_the_first_start_together(tmp_path: Path) -> None:
    """The second tells that it serves when the third has started, too."""
    command = [sys.executable, "-c", SUPERVISOR, WORKER, str(tmp_path)]
    subprocess.run(command, check=True, timeout=120)
    assert len(list(tmp_path.iterdir())) == 3


STOPPED_WHILE_STARTING = """
import os, signal, subprocess, sys
from ezkielyna import server

class Started(subprocess.Popen):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        os.kill(os.getpid(), signal.SIGTERM)

server.subprocess.Popen = Started
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
server.Supervisor(command, 1).run(lambda: None)
"""


def test_a_signal_stops_the_worker_that_is_just_being_started(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED_WHILE_STARTING, WORKER, str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)


def test_no_collection_looks_at_many_objects() -> None:
    """As many objects live at once as in requests of ten seconds that wait to be settled."""
    seen: list[int] = []

    def looked(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            generations = range(info["generation"] + 1)
            seen.append(sum(len(gc.get_objects(generation)) for generation in generations))

    before = gc.get_threshold()
    try:
        quieten_collector()
        gc.callbacks.append(looked)
        alive = [[number] for number in range(100_000)]
    finally:
        gc.callbacks.remove(looked)
        gc.set_threshold(*before)
        gc.unfreeze()
    assert len(seen) > len(alive) // 5000
    assert max(seen) <= 10_000


NOT_AT_START = {
    "markdown_it": "the first page of the documentation",
    "aiosmtplib": "a gateway whose letters leave by SMTP",
    "argon2": "the first password",
    "zxcvbn": "the first new password",
    "tiktoken": "the first answer without usage, in a process of its own",
    "stripe": "a gateway that takes payments by it",
    "redis": "a gateway that has Redis",
    "prometheus_client": "a gateway that is measured by it",
    "pytest": "tests",
    "hypothesis": "tests",
    "ezkielyna.testing": "tests",
    "ezkielyna.bench": "the load generator",
    "ezkielyna.demo": "a demo",
}
"""What takes long to import, and who alone needs it."""

MOST_MODULES = 900


def test_a_start_imports_only_what_it_needs(
    tmp_path: Path, database_server: DatabaseServer
) -> None:
    config = tmp_path / "own.toml"
    config.write_text(f'plugins = ["openai"]\n[storage]\nurl = "{database_server.url}"\n')
    arguments = ["--port", "0", "--config", str(config)]
    profiling = {"PYTHONPROFILEIMPORTTIME": "1"}
    with serving(arguments, tmp_path / "data", forked=False, **profiling) as process:
        assert httpx2.get(f"{process.url}/healthz").status_code == 200
        told = process.output
    lines = [line for line in told.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    print(f"\na start imports {len(imported)} modules")
    assert "ezkielyna.server" in imported
    assert not imported & NOT_AT_START.keys()
    assert len(imported) <= MOST_MODULES


def chat_until_it_connects(process: Serving, data: Path) -> httpx2.Response:
    """A worker that is being started may not accept yet; the kernel still may choose it."""
    for _ in range(50):
        try:
            return chat(process, data)
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("no worker answers")


def worker_ids(process: Serving) -> list[int]:
    """Return the workers: children that run `serve`."""
    return [
        pid for pid in process.children() if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
