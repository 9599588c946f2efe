"""Settings from environment variables: `EZKIELYNA_SERVER__PORT=9000` sets `server.port`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from ezkielyna.settings.documents import Document, Merged
from ezkielyna.settings.model import Settings

PREFIX = "EZKIELYNA_"
NESTING = "__"


def lay(merged: Merged, environment: Mapping[str, str]) -> None:
    """Lay every setting that the environment holds over the tree.

    A variable is a setting when it has a double underscore or names a key of the top level; other
    variables with our prefix belong to the command line and to tests.
    """
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX):
            continue
        steps = variable.removeprefix(PREFIX).lower().split(NESTING)
        if len(steps) == 1 and steps[0] not in Settings.model_fields:
            continue
        path = tuple(_spelt(merged.tree, steps))
        merged.put(path, typed(path, text), f"variable {variable}")


def typed(path: tuple[str, ...], text: str) -> Any:
    """Return the text as the type that the setting at this path has."""
    wanted = set(_leaves(_annotation(Settings, path)))
    if tuple in wanted:
        return _listed(text)
    if wanted & {int, float, bool, date, Decimal}:
        return _toml(text)
    return text


def _spelt(tree: Document, steps: list[str]) -> Iterator[str]:
    """Yield each step as the tree spells it, where only case and punctuation differ.

    A name such as `gpt-4o` cannot be written in a variable of most shells; `GPT_4O` finds it.
    """
    table: Any = tree
    for step in steps:
        names = table if isinstance(table, dict) else {}
        name = next((name for name in names if _plain(name) == step), step)
        yield name
        table = names.get(name)


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower())


def _annotation(model: type[BaseModel], path: tuple[str, ...]) -> Any:
    """Return the type of the setting at this path; str where no schema of ours knows it."""
    field = model.model_fields.get(path[0])
    if field is None:
        return str
    annotation: Any = field.annotation
    rest = path[1:]
    if rest and get_origin(annotation) is dict:
        annotation, rest = get_args(annotation)[1], rest[1:]
    if not rest:
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _annotation(annotation, rest)
    return str


def _leaves(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of: `tuple` and `str` for `tuple[str, ...]`."""
    origin = get_origin(annotation)
    if origin is None:
        yield annotation
        return
    yield origin
    for argument in get_args(annotation):
        yield from _leaves(argument)


def _toml(text: str) -> Any:
    """Return a number, a boolean, a date or a list as TOML reads it, anything else as it is."""
    try:
        return tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError:
        return text


def _listed(text: str) -> Any:
    """Return a TOML list, or the parts of `a,b,c`."""
    value = _toml(text)
    if isinstance(value, list):
        return value
    return [part.strip() for part in text.split(",") if part.strip()]
