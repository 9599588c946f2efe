"""Secrets: from text, environment and file; the server's own."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ezkielyna.settings import SettingsRefused, load, server_secret

Write = Callable[..., Path]


def test_secrets_come_from_text_environment_and_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    path = write(
        f"""
        [providers.lab]
        kind = "any"
        api_key = {{ env = "LAB_KEY" }}
        headers = {{ x-token = {{ file = "{tmp_path / "key"}" }}, x-plain = "plain" }}
        [mail]
        url = {{ env = "MAIL" }}
        """
    )
    settings = load([path], {"LAB_KEY": "from the environment", "MAIL": "smtp://u:p@h:587"})
    assert settings.providers["lab"]["api_key"] == "from the environment"
    assert settings.providers["lab"]["headers"] == {"x-token": "from a file", "x-plain": "plain"}
    assert settings.mail.url == "smtp://u:p@h:587"


def test_the_servers_secret_is_made_once(tmp_path: Path) -> None:
    settings, data = load([], {}), tmp_path / "data"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: server_secret(settings, data), range(32)))
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert list(data.iterdir()) == [data / "secret"]


def test_the_servers_secret_may_be_named(write: Write, tmp_path: Path) -> None:
    text = load([write(f"[server]\nsecret = '{'x' * 32}'\n")], {})
    assert server_secret(text, tmp_path) == b"x" * 32
    variable = load([write("[server]\nsecret = { env = 'S' }\n")], {"S": "y" * 40})
    assert server_secret(variable, tmp_path) == b"y" * 40
    file = load([write(f"[server]\nsecret = {{ file = '{tmp_path}/deep/secret' }}\n")], {})
    made = server_secret(file, tmp_path)
    assert (tmp_path / "deep/secret").read_bytes().strip() == made
    assert not (tmp_path / "secret").exists()


def test_a_weak_secret_is_refused(write: Write, tmp_path: Path) -> None:
    settings = load([write("[server]\nsecret = 'short'\n")], {})
    with pytest.raises(SettingsRefused, match=r"server\.secret: must have at least 32") as refused:
        server_secret(settings, tmp_path)
    assert "short" not in str(refused.value)
