"""The documentation's curl commands and Python, run as a reader would, against simulated models."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from ezkielyna.console.documents import ADDRESS, KEY, documents
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.processes import output_of

DEMO = Path(__file__).parents[2] / "config" / "demo.toml"
FAST = {"kind": "simulator", "first_byte_s": 0.0, "pace": 0}
CLIENT = (
    "from openai import OpenAI\n\nclient = OpenAI(base_url='{address}/api/v1', api_key='{key}')\n"
)


def tables() -> dict[str, Any]:
    """Return the demo's models, in a hurry."""
    models = tomllib.loads(DEMO.read_text(), parse_float=str)["models"]
    return {"plugins": ["openai", "simulator"], "providers": {"simulated": FAST}, "models": models}


def blocks(language: str, beginning: str) -> dict[str, str]:
    """Return the blocks of all pages, by page and position, that hold these words."""
    found = {}
    for page in documents():
        of_page = re.findall(rf"^```{language}\n(.*?)^```", page.text, re.M | re.S)
        for position, block in enumerate(of_page):
            if beginning in block:
                found[f"{page.name}-{position}"] = block
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on the PATH")
async def test_every_curl_command_is_answered(gateways: Gateways) -> None:
    given = f'export EZ_KEY="{KEY}"\n'
    written = {name: text.replace(given, "") for name, text in blocks("sh", "curl ").items()}
    found = {name: text for name, text in written.items() if text.startswith("curl ")}
    pages = {name.rpartition("-")[0] for name in found}
    assert pages >= {"chat-completions", "completions", "embeddings", "images", "models", "account"}
    failing = """curl() { command curl -sS -f -w '\\n' "$@"; }\n"""
    async with gateways(tables=tables()) as gateway:
        for name, text in found.items():
            script = "set -e\n" + failing + text.replace(ADDRESS, gateway.url)
            out = await output_of("sh", "-c", script, EZ_KEY=gateway.key)
            if "data: " in out:
                assert "data: [DONE]" in out, name
                continue
            answers = [orjson.loads(line) for line in out.splitlines() if line]
            assert len(answers) == text.count("curl "), name
            assert all("error" not in answer for answer in answers), name


async def test_all_python_of_the_sdk_runs(gateways: Gateways) -> None:
    found = blocks("python", "client.")
    pages = {name.rpartition("-")[0] for name in found}
    assert pages >= {"quick-start", "chat-completions", "streaming", "errors"}
    async with gateways(tables=tables()) as gateway:
        whole = ""
        for text in found.values():
            own = "" if "OpenAI(" in text else CLIENT.format(address=ADDRESS, key=KEY)
            whole += f"{own}{text}\n"
        program = whole.replace(ADDRESS, gateway.url).replace(KEY, gateway.key)
        printed = await output_of(sys.executable, "-c", program, EZ_KEY=gateway.key)
    assert re.search(r"^\d+ tokens$", printed, re.M)
    assert "404 model_not_found req_" in printed
