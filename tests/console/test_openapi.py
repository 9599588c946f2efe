"""`/openapi.json` describes what the gateway does: schemathesis tries it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.visitor import Visitor

SIMULATED: dict[str, Any] = {
    "plugins": ["openai", "simulator"],
    "providers": {"simulated": {"kind": "simulator"}},
    "models": {"sim-gpt": {"provider": "simulated", "input": "0.5", "output": "1.5"}},
}
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


async def test_every_reference_and_every_path_is_there(gateways: Gateways) -> None:
    async with gateways() as gateway:
        answer = await Visitor(gateway.url).get("/openapi.json")
        document = json.loads(answer.raw)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert document["servers"][0]["url"].endswith("/api/v1")
    schemas = document["components"]["schemas"]
    named = {part.split('"')[0] for part in answer.raw.split("#/components/schemas/")[1:]}
    assert named <= set(schemas)
    assert set(document["paths"]) == {
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/generations",
        "/models",
        "/models/{id}",
        "/key",
        "/usage",
    }


async def test_schemathesis_finds_nothing(gateways: Gateways, tmp_path: Path) -> None:
    async with gateways(tables=SIMULATED, credit="1000") as gateway:
        answer = await Visitor(gateway.url).get("/openapi.json")
        document = json.loads(answer.raw)
        document["servers"] = [{"url": gateway.api}]
        for schema in ("ChatRequest", "CompletionRequest", "EmbeddingRequest", "ImageRequest"):
            document["components"]["schemas"][schema]["properties"]["model"]["enum"] = ["sim-gpt"]
        file = tmp_path / "openapi.json"
        file.write_text(json.dumps(document))
        command = ["run", str(file), "--url", gateway.api, "--header"]
        command += [f"Authorization: Bearer {gateway.key}", "--max-examples", "12"]
        command += ["--checks", CHECKS, "--phases", "examples,fuzzing", "--no-color"]
        command += ["--generation-database", "none", "--request-timeout", "20"]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *command,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
