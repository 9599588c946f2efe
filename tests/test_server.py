"""Processes: `serve` as it is started by people, workers that die, signals that drain."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx2
import pytest

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
    with serving(["--demo", "--port", "0"], data) as process:
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
