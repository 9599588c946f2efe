"""Secrets: a string, or `{ env = … }`, or `{ file = … }`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ezkielyna.settings.documents import Merged, is_secret
from ezkielyna.settings.faults import Fault, SettingsRefused, dotted
from ezkielyna.settings.model import SecretFile, Settings

SERVER_SECRET = ("server", "secret")
LEAST_SECRET = 32
"""Characters of the server's secret; 32 of base64 carry 192 bits."""


def resolve(merged: Merged, environment: Mapping[str, str]) -> list[Fault]:
    """Put the string in place of every secret, and return a fault for each that is missing.

    The file of the server's secret is left alone: it is made when it is first needed.
    """
    faults: list[Fault] = []
    _resolve(merged, merged.tree, (), environment, faults)
    return faults


def missing(value: Any, environment: Mapping[str, str]) -> str | None:
    """Return why the secrets in this value cannot be had, or None when all are there."""
    if is_secret(value):
        return _look_up(value, environment)[1] or None
    children = value.values() if isinstance(value, dict) else ()
    return next((reason for child in children if (reason := missing(child, environment))), None)


def server_secret(settings: Settings, data: Path) -> bytes:
    """Return the server's secret; makes the file, mode 0600, when it is absent.

    Several processes may ask at once: all get the same bytes. Raises SettingsRefused when the
    secret is too short or its file cannot be read or made.
    """
    chosen = settings.server.secret
    key, origin = dotted(SERVER_SECRET), settings.origin(*SERVER_SECRET)
    if chosen is None or isinstance(chosen, SecretFile):
        path = data / "secret" if chosen is None else Path(chosen.file)
        try:
            text = _read_or_make(path)
        except OSError as error:
            reason = f"{path} cannot be read or made: {error.strerror}; check its permissions"
            raise SettingsRefused([Fault(origin, key, reason)]) from error
    else:
        text = chosen.get_secret_value()
    if len(text) < LEAST_SECRET:
        reason = f"must have at least {LEAST_SECRET} characters; `openssl rand -hex 32` makes one"
        raise SettingsRefused([Fault(origin, key, reason)])
    return text.encode()


def _resolve(
    merged: Merged,
    table: dict[str, Any],
    path: tuple[str, ...],
    environment: Mapping[str, str],
    faults: list[Fault],
) -> None:
    for key, value in table.items():
        place = (*path, key)
        if is_secret(value):
            if place == SERVER_SECRET and "file" in value:
                continue
            table[key], reason = _look_up(value, environment)
            merged.secrets.add(place)
            if reason:
                faults.append(Fault(merged.origin(place), dotted(place), reason))
        elif isinstance(value, dict):
            _resolve(merged, value, place, environment, faults)


def _look_up(secret: dict[str, str], environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the text of a secret and "", or "" and the reason why it cannot be had."""
    if "env" in secret:
        name = secret["env"]
        text = environment.get(name, "").strip()
        return text, "" if text else f"environment variable {name} is not set; set it"
    path = Path(secret["file"])
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        return "", f"the secret's file {path} cannot be read: {why}; write the secret into it"
    return text, "" if text else f"the secret's file {path} is empty; write the secret into it"


def _read_or_make(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link fails where another process was first; a rename would replace its secret.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_text("utf-8").strip()
