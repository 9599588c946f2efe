"""From files and environment to `Settings`, or to the list of all that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ezkielyna.settings import environment as variables
from ezkielyna.settings.documents import Document, Merged, read_all
from ezkielyna.settings.faults import Fault, SettingsRefused, dotted
from ezkielyna.settings.model import DEFAULT_PAYMENTS, Settings
from ezkielyna.settings.secrets import resolve
from ezkielyna.settings.starter import demo_documents


def load(
    paths: Sequence[Path],
    environment: Mapping[str, str],
    *,
    demo: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings: files in order, then the environment, then `options`; later wins.

    `options` are tables as in a file, given by the command line. `demo` lays the simulated models
    and what the starter catalogue can reach under all that. Writes nothing. Raises
    SettingsRefused with every fault.
    """
    merged = Merged()
    beneath = demo_documents(environment) if demo else []
    documents = read_all(paths)
    for document, origin in [*beneath, *documents]:
        merged.add(document, origin)
    if demo:
        _join_plugins(merged, [*beneath, *documents])
    variables.lay(merged, environment)
    merged.add(options or {}, "command line")
    faults = resolve(merged, environment)
    return _validated(merged, faults)


def explained(
    error: ValidationError, model: type[BaseModel], document: Document
) -> dict[tuple[str, ...], str]:
    """Return for each faulty key of a document a sentence with what to do.

    `model` is the class that refused the document. No value is quoted: it may be a secret.
    """
    faults: dict[tuple[str, ...], str] = {}
    for fault in error.errors(include_url=False, include_input=False):
        path = _without_branches(fault["loc"], document, fault["type"] == "missing")
        faults.setdefault(path, _sentence(dict(fault), model))
    # A union faults the key once for each branch: the fault inside of a branch says more.
    deeper = {path[:length] for path in faults for length in range(len(path))}
    return {path: reason for path, reason in faults.items() if path not in deeper}


def _join_plugins(merged: Merged, documents: list[tuple[Document, str]]) -> None:
    """Name what every document names: the demonstration needs its own plugins beside others."""
    named = [name for document, _ in documents for name in _names(document)]
    if all(isinstance(document.get("plugins", []), list) for document, _ in documents):
        merged.tree["plugins"] = list(dict.fromkeys(named))


def _names(document: Document) -> list[Any]:
    plugins = document.get("plugins", [])
    return plugins if isinstance(plugins, list) else []


def _validated(merged: Merged, faults: list[Fault]) -> Settings:
    tree = dict(merged.tree)
    if isinstance(plans := tree.get("plans", {}), dict):
        tree["plans"] = {"default": {}, **plans}
    if isinstance(payments := tree.get("payments", {}), dict):
        tree["payments"] = {**DEFAULT_PAYMENTS, **payments}
    faults.extend(_across(merged, tree))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        for path, reason in explained(error, Settings, tree).items():
            faults.append(Fault(merged.origin(path), dotted(path), reason))
        raise SettingsRefused(faults) from None
    if faults:
        raise SettingsRefused(faults)
    settings._origins.update(merged.origins)
    settings._secrets.update(merged.secrets)
    return settings


def _across(merged: Merged, tree: Document) -> Iterator[Fault]:
    """Yield the faults between keys, seen in the tree itself so that no other fault hides them."""
    for path, reason in (*_unpriced(tree), *_without_kind(tree), *_without_plan(tree)):
        yield Fault(merged.origin(path), dotted(path), reason)


def _unpriced(tree: Document) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, table in _tables(tree, "models"):
        if "image" not in table and not ("input" in table and "output" in table):
            reason = (
                "has no price, and no price means no service; write input and output (USD per "
                "million tokens) or image (USD a piece); 0 for free"
            )
            yield ("models", name), reason
        cost = table.get("cost")
        if isinstance(cost, dict) and not cost:
            reason = "says no cost; write input and output, or image, or leave cost out"
            yield ("models", name, "cost"), reason


def _without_kind(tree: Document) -> Iterator[tuple[tuple[str, ...], str]]:
    for section in ("providers", "billing", "payments"):
        for name, table in _tables(tree, section):
            if not isinstance(table.get("kind"), str):
                reason = 'is missing; write kind = "…", as a plugin offers it'
                yield (section, name, "kind"), reason


def _without_plan(tree: Document) -> Iterator[tuple[tuple[str, ...], str]]:
    accounts = tree.get("accounts", {})
    plan = accounts.get("plan", "default") if isinstance(accounts, dict) else "default"
    plans = [name for name, _ in _tables(tree, "plans")]
    if isinstance(plan, str) and plan not in plans:
        yield ("accounts", "plan"), f"there is no plan {plan!r}; plans are {', '.join(plans)}"


def _tables(tree: Document, section: str) -> Iterator[tuple[str, Document]]:
    tables = tree.get(section, {})
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict):
            yield name, table


def _without_branches(
    location: tuple[int | str, ...], document: Any, absent: bool
) -> tuple[str, ...]:
    """Return pydantic's path without the branches of a union, which it names as if they were keys.

    `absent` says that the last step is a key that the document lacks.
    """
    path: list[str] = []
    for step in location:
        if isinstance(document, dict) and step in document:
            path.append(str(step))
            document = document[step]
    return (*path, str(location[-1])) if absent else tuple(path)


_WANTED = {
    "int_type": "must be a whole number, such as 60",
    "int_parsing": "must be a whole number, such as 60",
    "int_from_float": "must be a whole number, such as 60",
    "float_type": "must be a number, such as 2.5",
    "float_parsing": "must be a number, such as 2.5",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false, without quotes",
    "string_type": 'must be a text in quotes, or a secret such as { env = "NAME" }',
    "date_type": "must be a day, such as 2026-11-01, without quotes",
    "tuple_type": 'must be a list, such as ["a", "b"]',
    "list_type": 'must be a list, such as ["a", "b"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "missing": "is missing; write it",
}


def _sentence(fault: dict[str, Any], model: type[BaseModel]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(fault["loc"], model)
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _WANTED:
        return _WANTED[kind]
    return str(fault["msg"]).replace("Input should", "must", 1)


def _unknown(path: tuple[int | str, ...], model: type[BaseModel]) -> str:
    keys = sorted(_table(model, path[:-1]).model_fields)
    close = get_close_matches(str(path[-1]), keys, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; remove it, or write one of {', '.join(keys)}"


def _table(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the class of the table at this path, as near as it can be told."""
    for step in path:
        field = model.model_fields.get(str(step))
        if field is None:
            continue
        annotation: Any = field.annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model
