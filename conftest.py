"""What every test here runs under."""

import gc
import os
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from ezkielyna.testing.fixtures import io_loop
from ezkielyna.testing.tally import TABLE

__all__ = ["io_loop"]  # a conftest's fixture wins over a plugin's: pytest-tornasync's is replaced

# A shared machine may take long over an example; that is no fault of the test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private folder in it
ROOM = 2 << 30


def _has_room(folder: Path) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize >= ROOM


# Every worker and every gateway that a test starts would compile all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Every client of an SDK reads all the authorities of the machine, for 50 ms: none goes that far.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = "/nowhere"

# Nobody reads the source lines that Rich prints around an exception, which takes it a second.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# Databases and journals sync what they write. A run's files end with it, so they need no disk.
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_room(IN_MEMORY):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(IN_MEMORY)


def pytest_collection_finish() -> None:
    """Show the garbage collector no more what collecting made, which lives as long as the run."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show which recordings were replayed and which were left out."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, table in report.user_properties if report.when == "call" else ():
            if name == TABLE:
                terminalreporter.section(f"{TABLE}: {report.nodeid}")
                terminalreporter.write_line(str(table))
