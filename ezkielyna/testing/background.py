"""An upstream in a thread and a gateway in a process: for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Self

from ezkielyna.testing.processes import ezkielyna, serving
from ezkielyna.testing.scripted import ReceivedRequest, Script, ScriptedUpstream

EMAIL = "ann@example.com"
PATIENCE_S = 60


class BackgroundUpstream:
    """A `ScriptedUpstream` on an event loop in a thread of its own; use it with `with`."""

    def __init__(self, *scripts: Script) -> None:
        self._upstream = ScriptedUpstream(*scripts)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return self._upstream.url

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What was asked so far."""
        return list(self._upstream.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._upstream.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._upstream.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


@dataclass(frozen=True)
class Response:
    """A whole answer; names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A gateway that runs at `url`; `key` belongs to an account that has money."""

    url: str
    key: str
    data: Path

    @property
    def api(self) -> str:
        """The base URL for SDKs."""
        return f"{self.url}/v1"

    def post(self, body: Any, path: str = "/chat/completions", **headers: str) -> Response:
        """Send JSON with the key; underscores in names of headers become hyphens."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        request = urllib.request.Request(  # noqa: S310 - our own gateway
            self.api + path,
            json.dumps(body).encode(),
            {"authorization": f"Bearer {self.key}", "content-type": "application/json", **named},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
                return _response(answer)
        except urllib.error.HTTPError as error:
            with error:
                return _response(error)


@contextmanager
def served(configuration: str, folder: Path, credit: str) -> Iterator[Served]:
    """Serve a configuration with the embedded database in this folder."""
    config, data = folder / "gateway.toml", folder / "data"
    config.write_text(configuration)
    options = ["--config", str(config)]
    with serving([*options, "--port", "0"], data) as gateway:
        url = gateway.url
        create = ["accounts", "create", EMAIL, "--credit", credit, "--verified"]
        _done(*create, *options, data=data)
        made = _done("keys", "create", EMAIL, "--json", *options, data=data)
        yield Served(url, json.loads(made)["key"], data)


def _done(*arguments: str, data: Path) -> str:
    result = ezkielyna(*arguments, data=data)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _response(answer: Any) -> Response:
    headers = {name.lower(): text for name, text in answer.headers.items()}
    return Response(answer.status, headers, answer.read())
