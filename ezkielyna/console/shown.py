"""Settings as operators may read them: what a table may hold, and what it holds but secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, BeforeValidator, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

HIDDEN = "hidden"
REQUIRED = "required"
LONGEST = 300

Secret = Callable[..., bool]
"""Says of a place in a table whether the configuration took it from where secrets are kept."""

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    Decimal: "number",
    str: "text",
    SecretStr: "secret",
    SecretBytes: "secret",
    tuple: "list",
    list: "list",
    frozenset: "list",
    set: "list",
    dict: "table",
}
_TELLING = re.compile(r"key|token|secret|passw|credential", re.I)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Shown:
    """One key of a table. `kind` says what it takes, `usual` what holds when it is left out."""

    name: str
    kind: str
    usual: str
    about: str
    value: str = ""


def shown(
    class_: type[BaseModel], value: BaseModel | None = None, secret: Secret = lambda *_: False
) -> list[Shown]:
    """Return a line for every key that a table may hold, with what it holds where `value` is."""
    return list(_lines(class_, value, secret, ()))


def _lines(
    class_: type[BaseModel], value: BaseModel | None, secret: Secret, path: tuple[str, ...]
) -> Iterator[Shown]:
    for name, field in class_.model_fields.items():
        place = (*path, name)
        held = None if value is None else getattr(value, name)
        inner = _table(field.annotation)
        if inner is not None:
            yield from _lines(inner, held, secret, place)
            continue
        hidden = secret(*place) or _hides(name, field)
        yield Shown(
            ".".join(place),
            _kind(field),
            REQUIRED if field.is_required() else _text(_usual(field), hidden=False),
            (field.description or "").replace("`", ""),
            "" if value is None else _text(held, hidden=hidden),
        )


def _usual(field: FieldInfo) -> Any:
    """Return what holds where the key is left out; nothing where that takes the other keys."""
    if field.default_factory is not None and field.default_factory_takes_validated_data:
        return None
    return field.get_default(call_default_factory=True)


def _table(annotation: Any) -> type[BaseModel] | None:
    """Return the class of a table within the table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _kind(field: FieldInfo) -> str:
    """Return what a key takes, in words; nothing where only its description can say it."""
    if any(isinstance(entry, BeforeValidator) for entry in field.metadata):
        return ""
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    if origin in (Union, UnionType):
        choices = [_words(one) for one in get_args(annotation) if one is not NoneType]
        return " or ".join(dict.fromkeys(filter(None, choices)))
    if origin is None or origin in _WORDS:
        return _WORDS.get(origin or annotation, "")
    return _words(get_args(annotation)[0]) if get_args(annotation) else ""


def _hides(name: str, field: FieldInfo) -> bool:
    """True for what is a secret by its type, or by its name where somebody typed it in as text."""
    parts = (field.annotation, *get_args(field.annotation))
    return not {SecretStr, SecretBytes}.isdisjoint(parts) or (
        str in parts and _TELLING.search(name) is not None
    )


def _text(value: Any, *, hidden: bool) -> str:
    """Return a value as TOML would have it, more or less; of a secret whether it is set."""
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN if value.get_secret_value() else ""
    if hidden:
        return HIDDEN if value else ""
    if value is None:
        return ""
    if isinstance(value, str | Decimal | PurePath):
        written = str(value)
    else:
        written = orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    written = _CREDENTIALS.sub(f"{HIDDEN}@", written)
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}…"


def _plain(value: Any) -> Any:
    """Return what JSON has no form for as something that it has."""
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Decimal | PurePath) else repr(value)
