"""Thousands of open streams in one process: none fails, and each takes little memory.

In the suite a few hundred, which are more than the file limit the process was started with;
5,000 with `EZKIELYNA_SOAK=1`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import memory_kib
from ezkielyna.testing.lab import Lab

LONG = bool(os.environ.get("EZKIELYNA_SOAK"))
STREAMS, SECONDS = (5000, 10.0) if LONG else (300, 0.3)
FILES = 400
"""Two for each of 300 streams are more."""

KIB = 30
MODEL = "bench-paced-1x600"
PRICED = {"PROVIDER": "lab", "INPUT": "2.5", "OUTPUT": "10", "CONTEXT": "9000", "MAX_OUTPUT": "900"}
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a part of the benchmark as a process that ends with the test."""
    command = (sys.executable, "-m", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@contextmanager
def few_files() -> Iterator[None]:
    """Start processes as a shell does that allows them few open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def streamed(url: str, key: str, pid: int) -> Any:
    """Hold streams open that bring a chunk a second; return the load generator's report."""
    options = {
        "--url": f"{url}/v1", "--model": MODEL, "--key": key, "--streams": str(STREAMS),
        "--seconds": str(SECONDS), "--watch": str(pid),
    }  # fmt: skip
    words = [word for pair in options.items() for word in pair]
    async with running("benchmarks.load", "paced", *words) as load:
        assert load.stdout is not None
        return json.loads(await load.stdout.read())


@pytest.mark.timeout(seconds=900 if LONG else 120)
async def test_no_open_stream_fails_and_each_takes_little_memory(lab: Lab) -> None:
    payer = await lab.account("1000")
    variables = {
        f"EZKIELYNA_MODELS__{MODEL.upper()}__{name}": text for name, text in PRICED.items()
    }
    async with running("benchmarks.upstream", "--port", "0") as upstream:
        assert upstream.stdout is not None
        line = (await upstream.stdout.readline()).decode()
        address = line.removeprefix("listening on ").strip()
        with few_files():
            serving = lab.serving(address, **variables)
            gateway = await serving.__aenter__()
        try:
            pid = gateway.process.pid
            before = memory_kib([pid])
            seen = await streamed(gateway.url, payer.key, pid)
        finally:
            await serving.__aexit__(None, None, None)
    each = (seen["memory_kib"] - before) / STREAMS
    print(
        f"\n{seen['streams']} streams of {each:.1f} KiB, {seen['chunks']} chunks; {seen['error']}"
    )
    assert (seen["errors"], seen["error"]) == (0, "")
    assert seen["streams"] == STREAMS
    if LONG:
        assert each <= KIB
