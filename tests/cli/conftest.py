"""Commands, run against a database."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.main import main
from ezkielyna.testing.database import DatabaseServer

Run = Callable[..., Result]


@pytest.fixture
def ezkielyna(
    database_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command against a database of this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EZKIELYNA_STORAGE__URL", database_server.url)
    monkeypatch.setenv("EZKIELYNA_STORAGE__DATABASE", f"test_{uuid.uuid4().hex[:12]}")

    def run(*words: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(main, words, input=typed)

    return run
