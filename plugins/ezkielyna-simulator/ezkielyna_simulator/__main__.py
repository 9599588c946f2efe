"""`python -m ezkielyna_simulator`: the simulated server as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from ezkielyna_simulator.script import Script
from ezkielyna_simulator.server import SimulatedServer


def main() -> None:
    """Serve until SIGINT or SIGTERM; prints `listening on http://…` when it accepts connections."""
    options = _parser().parse_args()
    script = Script(
        first_byte_s=options.first_byte,
        pace=options.pace,
        tokens=options.length,
        error_rate=options.error_rate,
        seed=options.seed,
    )
    try:
        import uvloop
    except ImportError:  # it does not install everywhere
        asyncio.run(_serve(script, options.host, options.port))
    else:
        uvloop.run(_serve(script, options.host, options.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ezkielyna_simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default: a free one")
    parser.add_argument("--first-byte", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--pace", type=float, default=0.0, help="chunks a second; 0: all at once")
    parser.add_argument("--length", type=int, default=0, help="tokens of an answer; 0: natural")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share that fails, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    return parser


async def _serve(script: Script, host: str, port: int) -> None:
    server = SimulatedServer(script)
    address = await server.start(host, port)
    sys.stdout.write(f"listening on {address}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.close()


if __name__ == "__main__":
    main()
