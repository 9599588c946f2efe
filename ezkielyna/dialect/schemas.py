"""JSON schemas: what upstreams that compile them want to know. Without recursion, as the depth of
a schema is the client's.
"""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.dialect.quoted import encoded
from ezkielyna.dialect.reading import Json, invalid


def compilable(schema: Json) -> bool:
    """True when a grammar can be made of the schema: every object is closed, and no `$ref` is
    foreign or part of a circle.
    """
    if any(node.get("additionalProperties") is not False for node in _objects(schema)):
        return False
    refs = {
        f"#/{key}/{name}": _refs(node)
        for key in ("$defs", "definitions")
        if isinstance(schema.get(key), dict)
        for name, node in schema[key].items()
    }
    if not _refs(schema) <= refs.keys():
        return False
    while leaves := [name for name, inner in refs.items() if not inner & refs.keys()]:
        for name in leaves:
            del refs[name]
    return not refs


def closed(schema: Json) -> Json:
    """Return a copy in which every object that does not say so takes no further properties."""
    copy: Json = orjson.loads(encoded(schema))
    for node in _objects(copy):
        node.setdefault("additionalProperties", False)
    return copy


def takes_nothing(schema: Json) -> bool:
    """True for the schema of a tool without arguments."""
    more = ("properties", "$ref", "anyOf", "oneOf", "allOf", "patternProperties")
    return not any(schema.get(key) for key in (*more, "additionalProperties"))


def object_schema(schema: Json, where: str) -> Json:
    """Return a schema whose root is an object, for upstreams that demand it of a tool's input.

    Raises InvalidRequest for any other root.
    """
    if schema.get("type", "object") != "object" or schema.keys() & {"anyOf", "oneOf", "allOf"}:
        raise invalid(where, "the root of the schema must be a plain object")
    return {"properties": {}, **schema, "type": "object"}


def _refs(schema: Any) -> set[str]:
    return {str(node["$ref"]) for node in _nodes(schema) if "$ref" in node}


def _objects(schema: Any) -> list[Json]:
    return [node for node in _nodes(schema) if node.get("type") == "object"]


def _nodes(root: Any) -> list[Json]:
    """Return every object inside of a JSON value."""
    found: list[Json] = []
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            found.append(node)
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
    return found
