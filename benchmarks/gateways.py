"""What is measured, started and pinned: a direct line, nginx, this gateway, any address."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.processes import (
    NotStarted,
    Started,
    command_line,
    family,
    free_port,
    mentioning,
    pin,
    seconds_to_line,
    shown,
    yielding,
)

_DATABASE = "secantus"  # in the command line of the embedded database
_NICE = 10
_EMAIL = "bench@example.com"
_PATIENCE_S = 90.0
_STARTS = 3
_DIALECTS = ("anthropic", "gemini")

_NGINX = """
daemon off; pid {folder}/pid; error_log stderr warn; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream scripted {{
    server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://scripted; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 3600s;
    }}
  }}
}}
"""

_OURS = """
plugins = ["openai", "anthropic", "gemini"]
[server]
host = "127.0.0.1"
port = {port}
workers = {workers}
wire = "{wire}"
[storage]
url = "{storage}"
[providers.openai]
kind = "openai"
preset = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "none"
[providers.anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "none"
[providers.gemini]
kind = "gemini"
base_url = "http://127.0.0.1:{upstream}/v1beta"
api_key = "none"
[plans.default]
rpm = 1000000000
tpm = 1000000000000
concurrency = 1000000
models = ["*"]
[accounts]
require_verified_email = false
"""

_MODEL = """
[models."{name}"]
provider = "{provider}"
input = {input}
output = {output}
context = 128000
max_output = 16384
"""


class Absent(Exception):
    """What should be measured cannot be started here; the text says why."""


@dataclass(slots=True)
class Subject:
    """One column of the table. `pids` are the processes that serve; none when unknown."""

    name: str
    url: str
    key: str = ""
    prefix: str = "bench"
    pids: list[int] = field(default_factory=list)
    version: str = ""
    command: str = ""
    idle_kib: int = 0
    translates: bool = False  # it leads to the upstream's other dialects, too
    probe: str = ""  # a small page of its own
    alone: bool = True  # its processes serve no other column; of those that share, one is
    headers: tuple[str, ...] = ()
    several: bool = False  # several workers serve
    only: tuple[str, ...] = ()  # the measures to take of it; all when empty
    once: dict[str, list[float]] = field(default_factory=dict)  # figures taken at the start


@dataclass(frozen=True, slots=True)
class Stage:
    """Where gateways are started; `scripts` are the model names, without prefix, they must know."""

    folder: Path
    upstream: int
    gateway_cores: Sequence[int]
    other_cores: Sequence[int]
    scripts: Sequence[str]
    running: ExitStack

    def cores_for(self, workers: int) -> list[int]:
        """Return a core for each of several workers, as far as there are any."""
        every = list(dict.fromkeys([*self.gateway_cores, *self.other_cores]))
        return every[:workers]

    def start(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        cores: Iterable[int],
        *,
        patience_s: float = _PATIENCE_S,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Started:
        """Start a process that ends with the stage; raises NotStarted."""
        started = Started(command, cores, self.folder / f"{name}.log", cwd, environment)
        self.running.callback(started.stop)
        started.wait_listening(port, patience_s)
        return started


def direct(stage: Stage) -> list[Subject]:
    """Return the line without a gateway: what load generator and upstream can do."""
    return [Subject("direct", f"http://127.0.0.1:{stage.upstream}/v1")]


def nginx(stage: Stage) -> list[Subject]:
    """Start one nginx worker that passes everything on; raises Absent without nginx."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise Absent("no nginx on the PATH nor in /usr/sbin")
    folder = stage.folder / "nginx"
    folder.mkdir()
    port = free_port()
    text = _NGINX.format(folder=folder, upstream=stage.upstream, port=port)
    (folder / "nginx.conf").write_text(text)
    command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    started = stage.start("nginx-process", command, port, stage.gateway_cores)
    told = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False).stderr
    return [
        Subject(
            "nginx",
            f"http://127.0.0.1:{port}/v1",
            pids=family(started.pid),
            version=told.strip().rpartition("/")[2],
            command=shown(command),
        )
    ]


def ours(
    wire: str,
    *,
    priced: bool,
    moneyless: str = "",
    workers: int = 1,
    only: tuple[str, ...] = (),
) -> Callable[[Stage], list[Subject]]:
    """Return what starts this gateway on a wire: one subject of free models, one of priced ones.

    Free requests are reserved, journalled and settled like others; those of a gateway that is
    `moneyless` are not: of them "usage" is kept, or nothing ("relay").
    """

    def start(stage: Stage) -> list[Subject]:
        program = str(Path(sys.executable).with_name("ezkielyna"))
        if not Path(program).exists():
            raise Absent(f"{program} is not installed")
        name = f"ours, {wire}" + (f", {workers} workers" if workers > 1 else "")
        name += {"": "", "usage": ", no money", "relay": ", relay"}[moneyless]
        folder = stage.folder / name.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        port = free_port()
        config = folder / "ezkielyna.toml"
        config.write_text(_configuration(stage, wire, port, workers))
        common = ["--config", str(config), "--data", str(folder / "data")]
        without = [sys.executable, "-m", "benchmarks.moneyless", moneyless]
        serving = without if moneyless else [program]
        command = [*serving, "serve", *common]
        cores = stage.gateway_cores if workers == 1 else stage.cores_for(workers)
        try:
            started = stage.start(folder.name, command, port, cores)
            key = _make_key(program, common)
        except NotStarted as reason:
            raise Absent(str(reason)) from reason
        pids, database = _serving(started.pid, folder)
        started.others = database
        for pid in database:
            pin(pid, stage.other_cores)
            yielding(pid, _NICE)  # or load generator and upstream would wait for it
        one = Subject(
            name,
            f"http://127.0.0.1:{port}/v1",
            key,
            pids=pids,
            version=_our_version(),
            command=shown(command),
            translates=True,
            probe=f"http://127.0.0.1:{port}/healthz",
            only=only,
            several=workers > 1,
        )
        if priced:
            one.once["start_s"] = _start_times(stage, program, folder, wire)
            one.alone = False
            return [one, replace(one, name=f"{name}, money", prefix="priced", once={}, alone=True)]
        return [one]

    return start


def _start_times(stage: Stage, program: str, folder: Path, wire: str) -> list[float]:
    """Return how long three starts took until "listening", in seconds; the database runs."""
    notice = json.loads((folder / "data" / "db.json").read_text())
    storage = f"mongodb://127.0.0.1:{notice['port']}/?directConnection=true"
    config = folder / "start.toml"
    times = []
    for number in range(_STARTS):
        config.write_text(_configuration(stage, wire, free_port(), 1, storage))
        data = str(folder / f"start-{number}")
        command = [program, "serve", "--config", str(config), "--data", data]
        times.append(seconds_to_line(command, "listening on", stage.gateway_cores))
    return times


def given(name: str, url: str, key: str) -> Callable[[Stage], list[Subject]]:
    """Return the subject of an address; its gateway must lead to the scripted upstream."""
    return lambda stage: [Subject(name, url, key)]


def _configuration(
    stage: Stage, wire: str, port: int, workers: int, storage: str = "embedded:"
) -> str:
    text = _OURS.format(
        port=port, wire=wire, upstream=stage.upstream, workers=workers, storage=storage
    )
    for script in stage.scripts:
        provider = next((name for name in _DIALECTS if script.startswith(name)), "openai")
        for prefix, prices in (("bench", ("0", "0")), ("priced", ("2.50", "10.00"))):
            text += _MODEL.format(
                name=f"{prefix}-{script}", provider=provider, input=prices[0], output=prices[1]
            )
    return text


def _make_key(program: str, common: Sequence[str]) -> str:
    """Create an account with money and return a key of it; raises NotStarted."""
    _told([program, "accounts", "create", _EMAIL, "--credit", "1000000", "--verified", *common])
    told = _told([program, "keys", "create", _EMAIL, "--json", *common])
    key: str = json.loads(told)["key"]
    return key


def _told(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    if done.returncode:
        raise NotStarted(f"{shown(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def _serving(pid: int, folder: Path) -> tuple[list[int], list[int]]:
    """Return the processes that serve, and those of the embedded database, which is detached."""
    every = set(family(pid)) | set(mentioning(str(folder)))
    database = {one for one in every if _DATABASE in command_line(one)}
    return sorted(every - database), sorted(database)


def _our_version() -> str:
    try:
        return version("ezkielyna")
    except PackageNotFoundError:
        return "unknown"
