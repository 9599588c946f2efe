"""The schemas that OpenAI publishes, for what a gateway says to its clients."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from ezkielyna.testing.recordings import folder


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of a schema, by its name in OpenAI's OpenAPI document.

    Skips the running test where there are no recordings, as the document is kept with them.
    """
    path = folder() / "openai/openapi-spec/schemas-subset.json"
    components = _nullable(orjson.loads(path.read_bytes())["components"])
    root = {"$ref": f"#/components/schemas/{name}", "components": components}
    return Draft202012Validator(root)


def _nullable(schema: Any) -> Any:
    """Rewrite OpenAPI 3.0's `nullable`, which JSON Schema does not know."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _nullable(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [inner, {"type": "null"}]} if schema.get("nullable") is True else inner
