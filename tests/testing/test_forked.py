"""A forked command ends and prints as the program does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ezkielyna.testing.forked import Forked
from ezkielyna.testing.processes import clean_environment, serving


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(["--version"], id="prints"),
        pytest.param(["serve", "--port", "many"], id="a wrong option"),
        pytest.param(["--config", "/nowhere.toml", "check"], id="a file that is not there"),
    ],
)
def test_what_is_printed_and_the_exit_status_are_the_programs(line: list[str]) -> None:
    environment = clean_environment()
    program = subprocess.run(
        [sys.executable, "-m", "ezkielyna", *line],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    fork = Forked(line, environment, merged=False)
    with fork.stdout, fork.stderr:
        told = fork.stdout.read(), fork.stderr.read()
    assert (fork.wait(10), *told) == (program.returncode, program.stdout, program.stderr)
    assert any(told)


def test_the_environment_is_its_own(tmp_path: Path) -> None:
    environment = {**clean_environment(), "EZKIELYNA_SERVER__PORT": "none"}
    fork = Forked(["--data", str(tmp_path), "check"], environment)
    with fork.stdout:
        assert "EZKIELYNA_SERVER__PORT" in fork.stdout.read()
    assert fork.wait(10) != 0


def test_a_signal_is_its_negative_status(tmp_path: Path) -> None:
    with serving(["--demo", "--port", "0"], tmp_path) as process:
        assert process.url
        assert process.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.process.wait(0.1)
        process.process.kill()
        assert process.process.wait(10) == -signal.SIGKILL
