"""The kit in the hands of an author: its fixtures in a pytest run of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ezkielyna.testing.processes import clean_environment

AUTHORS = '''
from ezkielyna.testing import cutting, garbling, stalling, streaming, trickling
from ezkielyna.testing.dialect import chat_stream, usage_chunk

CONFIG = """
plugins = ["openai"]
[providers.lab]
kind = "openai"
base_url = "{url}/v1"
time_limits = {{ idle_s = 1.0 }}
[models.m]
provider = "lab"
input = 1
output = 2
"""
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


def test_upstreams_that_misbehave(scripted_upstream, serve_gateway):
    pieces = chat_stream(["Hello ", "you"])
    silent = [piece for piece in pieces if b'"usage":{' not in piece]
    scripts = streaming(pieces), trickling(pieces), streaming(silent), cutting(pieces, 3)
    upstream = scripted_upstream(*scripts, garbling(), stalling(pieces[:3]))
    gateway = serve_gateway(CONFIG.format(url=upstream.url))
    bodies = [gateway.post(CHAT) for _ in range(6)]
    whole, trickled, usageless, cut, garbled, stalled = (answer.body for answer in bodies)
    assert whole == trickled == usageless
    assert whole.endswith(b"data: [DONE]\\n\\n")
    assert b"Hello " in cut and b"upstream_error" in cut and b"[DONE]" not in cut
    assert bodies[4].status == 502
    assert b"upstream_timeout" in stalled
    assert len(upstream.requests) == 6


def test_two_gateways_do_not_meet(scripted_upstream, serve_gateway):
    upstream = scripted_upstream()
    one, two = (serve_gateway(CONFIG.format(url=upstream.url), credit="0") for _ in range(2))
    assert one.post(CHAT).status == 402
    assert two.post({**CHAT, "model": "n"}).status == 404
'''


def test_the_fixtures_are_there_for_authors(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(AUTHORS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "ezkielyna.testing.kit", str(tmp_path)]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**clean_environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


def test_the_kit_costs_other_test_runs_little(tmp_path: Path) -> None:
    check = (
        "import sys, ezkielyna.testing.kit; "
        "print([m for m in ('tornado', 'uvloop', 'motor', 'pymongo') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert result.stdout.strip() == "[]"
