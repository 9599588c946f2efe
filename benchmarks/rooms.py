"""Which rooms a plain request passes, and how much Python it executes in each: the profile.

```
.venv/bin/python -m benchmarks.rooms                # a table, as in the README
.venv/bin/python -m benchmarks.rooms --functions 40 # and the longest functions
```

Every bytecode that the event loop's thread executes is counted while requests come on eight
connections, until they are settled, and divided by the requests. Counts are those of the Python
version and of nothing else: they tell a shorter path from a quiet machine. What C code does between
two bytecodes is not in them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop

import ezkielyna
from benchmarks.inside import SECRET, scripted_upstream, served
from ezkielyna.contract.money import nano
from ezkielyna.settings import load
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.embedded import EMBEDDED, open_storage
from ezkielyna.storage.keys import Keys

HOUSE = Path(ezkielyna.__file__).parent
PLUGINS = HOUSE.parent / "plugins"
MODEL = "bench-plain"
CONNECTIONS = 8
ENTRY = "ApiRouter.run"
"""Every request goes through it once."""

SETTLED_S = 3.0
"""The last batch is written by then, traced or not."""

PLAN = {"rpm": 1_000_000_000, "tpm": 1_000_000_000_000, "concurrency": 1_000_000}
PRICED = {"input": "2.50", "output": "10", "context": 128_000, "max_output": 16_384}


class Counted:
    """Counts calls and bytecodes of the thread that it is entered in, by code."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType] = Counter()
        self.bytecodes: Counter[CodeType] = Counter()

    def __enter__(self) -> Counted:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, _: object) -> Any:
        code, bytecodes = frame.f_code, self.bytecodes
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.calls[code] += 1

        def executed(frame: FrameType, event: str, _: object) -> Any:
            if event == "opcode":
                bytecodes[code] += 1
            return executed

        return executed


def room(code: CodeType) -> str:
    """Return the folder of this project, or the library, that a function is in."""
    path = Path(code.co_filename)
    if path.is_relative_to(HOUSE):
        return path.relative_to(HOUSE).parts[0].removesuffix(".py")
    if path.is_relative_to(PLUGINS):
        return path.relative_to(PLUGINS).parts[0]
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1]
    return "Python's library"


def table(counted: Counted, requests: int, functions: int) -> str:
    """Return the rooms, and so many of the longest functions, as Markdown."""
    calls: Counter[str] = Counter()
    bytecodes: Counter[str] = Counter()
    for code, count in counted.calls.items():
        calls[room(code)] += count
        bytecodes[room(code)] += counted.bytecodes[code]
    whole = bytecodes.total()
    lines = ["| room | Python calls | bytecodes | share |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {calls[name] / requests:.1f} | {count / requests:,.0f} | "
        f"{100 * count / whole:.0f} % |"
        for name, count in bytecodes.most_common()
        if count / whole >= 0.01
    ]
    lines.append(f"| all | {calls.total() / requests:.0f} | {whole / requests:,.0f} | 100 % |")
    for code, count in counted.bytecodes.most_common(functions):
        lines.append(f"{count / requests:7.1f}  {room(code)}: {code.co_qualname}")
    return "\n".join(lines)


@asynccontextmanager
async def gateway(upstream: str) -> AsyncIterator[tuple[str, str]]:
    """Serve one priced model on this event loop; return the address and a key."""
    tables = {
        "plugins": ["openai"],
        "providers": {"lab": {"kind": "openai", "base_url": f"{upstream}/v1", "api_key": "none"}},
        "models": {MODEL: {"provider": "lab", **PRICED}},
        "plans": {"default": PLAN},
    }
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        async with open_storage(EMBEDDED, "rooms", "motor", data) as database:
            account = await Accounts(database).create(
                "bench@example.com", "default", verified=True, credit=nano("100000")
            )
            _, key = await Keys(database, SECRET).create(account.id, name="rooms")
            async with served(load((), {}, options=tables), database, data) as port:
                yield f"http://127.0.0.1:{port}/v1", key


async def load_for(seconds: float, url: str, key: str) -> dict[str, Any]:
    """Put the load generator on it; return its report."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", "closed", "--url", url, "--model", MODEL),
        *("--key", key, "--seconds", str(seconds), "--connections", str(CONNECTIONS)),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    report: dict[str, Any] = json.loads(told)
    return report


async def run(seconds: float, functions: int) -> None:
    """Count, and print."""
    async with scripted_upstream() as upstream, gateway(upstream) as (url, key):
        await load_for(1.0, url, key)
        await asyncio.sleep(SETTLED_S)
        with Counted() as counted:
            report = await load_for(seconds, url, key)
            await asyncio.sleep(SETTLED_S)
        if report["errors"]:
            raise SystemExit(f"{report['errors']} errors: {report['error']}")
    requests = sum(n for code, n in counted.calls.items() if code.co_qualname == ENTRY)
    print(f"{requests} plain requests, Python {sys.version.split()[0]}\n")
    print(table(counted, requests, functions))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rooms", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to count")
    parser.add_argument("--functions", type=int, default=0, help="how many functions to name")
    chosen = parser.parse_args()
    uvloop.run(run(chosen.seconds, chosen.functions))


if __name__ == "__main__":
    main()
