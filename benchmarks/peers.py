"""Other gateways, installed from their packages into environments of their own, once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.gateways import Absent, Stage, Subject
from benchmarks.processes import NotStarted, family, free_port, shown

_INSTALL_S = 1800.0
_PATIENCE_S = 180.0
_MEASURES = ("plain", "burst", "paced", "first")
_KEY = "sk-bench"
_PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "^1.15.2"},
    # With later ones, which its own range allows, every stream ends in 500: "TypeError: immutable",
    # https://github.com/Portkey-AI/gateway/issues/1389. This is the one in its lock file.
    "overrides": {"@hono/node-server": "1.13.5"},
}


def peers(folder: Path) -> dict[str, Callable[[Stage], list[Subject]]]:
    """Return what starts each of them; a first start installs it below the folder."""
    return {
        "LiteLLM proxy": partial(litellm, folder / "litellm"),
        "Portkey gateway": partial(portkey, folder / "portkey"),
    }


def litellm(folder: Path, stage: Stage) -> list[Subject]:
    """Start LiteLLM's proxy: one worker, no database; raises Absent where it cannot."""
    python = folder / "bin" / "python"
    if not python.exists():
        _install([sys.executable, "-m", "venv", str(folder)])
    program = folder / "bin" / "litellm"
    if not program.exists():
        _install([str(python), "-m", "pip", "install", "--quiet", "litellm[proxy]"])
    models = [
        {
            "model_name": f"bench-{script}",
            "litellm_params": {
                "model": f"openai/bench-{script}",
                "api_base": f"http://127.0.0.1:{stage.upstream}/v1",
                "api_key": "none",
            },
        }
        for script in stage.scripts
    ]
    config = stage.folder / "litellm.yaml"
    # JSON is YAML.
    settings = {"model_list": models, "general_settings": {"master_key": _KEY}}
    config.write_text(json.dumps(settings))
    port = free_port()
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1"]
    version = _told([str(python), "-m", "pip", "show", "litellm"]).partition("Version: ")[2]
    return _started(
        stage,
        "LiteLLM proxy",
        command,
        port,
        version.split("\n")[0],
        key=_KEY,
        cwd=folder,
        # It takes equal chunks for a model that has lost itself; ours are equal on purpose.
        environment={"REPEATED_STREAMING_CHUNK_LIMIT": "1000000000"},
    )


def portkey(folder: Path, stage: Stage) -> list[Subject]:
    """Start Portkey's gateway on Node; raises Absent where it cannot."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Absent("no node and npm on the PATH")
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / "node_modules" / "@portkey-ai" / "gateway"
    wanted, manifest = json.dumps(_PORTKEY), folder / "package.json"
    if not package.exists() or manifest.read_text() != wanted:
        for name in ("node_modules", "package-lock.json"):  # npm overrides nothing it has locked
            _remove(folder / name)
        manifest.write_text(wanted)
        _install([npm, "install", "--no-fund", "--no-audit"], folder)
    port = free_port()
    command = [node, str(package / "build" / "start-server.js"), "--headless", f"--port={port}"]
    version = json.loads((package / "package.json").read_text())["version"]
    headers = (
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: http://127.0.0.1:{stage.upstream}/v1",
    )
    return _started(stage, "Portkey gateway", command, port, version, headers=headers, cwd=package)


def _started(
    stage: Stage,
    name: str,
    command: Sequence[str],
    port: int,
    version: str,
    *,
    cwd: Path,
    key: str = "",
    headers: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> list[Subject]:
    try:
        started = stage.start(
            name.replace(" ", "-"),
            command,
            port,
            stage.gateway_cores,
            patience_s=_PATIENCE_S,
            cwd=cwd,
            environment=environment,
        )
    except NotStarted as reason:
        raise Absent(str(reason)) from reason
    subject = Subject(
        name,
        f"http://127.0.0.1:{port}/v1",
        key,
        pids=family(started.pid),
        version=version,
        command=shown(command),
        headers=headers,
        only=_MEASURES,
    )
    return [subject]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _install(command: Sequence[str], folder: Path | None = None) -> None:
    print(f"installing: {shown(command)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{shown(command)}: {error}") from error
    if done.returncode:
        raise Absent(f"{shown(command)}: {done.stderr.strip()[-300:]}")


def _told(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
