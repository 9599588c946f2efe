"""Tools, tool choice and structured output: from OpenAI's words to Anthropic's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from ezkielyna_anthropic.fields import (
    Json,
    cached,
    encoded,
    invalid,
    listed,
    named,
    table,
    unsupported,
)
from ezkielyna_anthropic.models import Capabilities

JSON_TOOL = "json_schema_output"
"""The tool that stands for `response_format` where a model has no structured output."""

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_EMPTY: Json = {"type": "object", "properties": {}}
_FREE_TEXT = {**_EMPTY, "properties": {"input": {"type": "string"}}, "required": ["input"]}


@dataclass(slots=True)
class Toolbox:
    """The tools of a request, and what the answer's calls have to be turned back into.

    `custom` names the tools whose one argument is free text. `functions` is true where the client
    speaks of deprecated functions and wants its answer so. `json` is true where calls of
    `JSON_TOOL` are the answer's text.
    """

    specs: list[Json] = field(default_factory=list)
    choice: Json | None = None
    custom: set[str] = field(default_factory=set)
    functions: bool = False
    json: bool = False

    @property
    def names(self) -> set[str]:
        """The names of the tools."""
        return {spec["name"] for spec in self.specs}

    @property
    def forced(self) -> bool:
        """True when the model has no choice but to call a tool."""
        return self.choice is not None and self.choice["type"] in ("any", "tool")

    def for_history(self, names: set[str]) -> None:
        """Declare the tools of a history without tools: its calls need them declared."""
        if names and not self.specs:
            self.choice = {"type": "none"}
            self.specs = [{"name": name, "input_schema": _EMPTY} for name in sorted(names)]

    def for_json(self, schema: Json) -> None:
        """Offer the answer's schema as a tool that must be called, unless another one must."""
        self.json = not self.forced
        if self.json:
            where = "response_format.json_schema.schema"
            alone = not self.specs or self.choice == {"type": "none"}
            self.specs.append({"name": JSON_TOOL, "input_schema": object_schema(schema, where)})
            self.choice = {"type": "tool", "name": JSON_TOOL} if alone else {"type": "any"}


def toolbox(fields: Json, can: Capabilities) -> Toolbox:
    """Return the tools of a request; raises InvalidRequest or Unsupported naming the field."""
    box = Toolbox(functions="functions" in fields and "tools" not in fields)
    where, choice = ("functions", "function_call") if box.functions else ("tools", "tool_choice")
    for at, value in enumerate(listed(fields.get(where, []), where)):
        tool = {"type": "function", "function": value} if box.functions else value
        box.specs.append(_spec(table(tool, f"{where}[{at}]"), f"{where}[{at}]", can))
        if tool["type"] == "custom":
            box.custom.add(tool["custom"]["name"])
    if len(box.names) < len(box.specs):
        raise invalid(where, "two tools have the same name")
    box.choice = _choice(fields.get(choice), choice, box)
    # A client that knows functions expects one call at a time.
    single = box.functions or fields.get("parallel_tool_calls") is False
    if single and box.specs and box.choice != {"type": "none"}:
        box.choice = {**(box.choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return box


def _spec(tool: Json, where: str, can: Capabilities) -> Json:
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise unsupported(where, f"tools of type {kind!r}")
    where = f"{where}.{kind}"
    told = table(tool.get(kind), where)
    spec: Json = {"name": named(told.get("name"), f"{where}.name")}
    if isinstance(told.get("description"), str):
        spec["description"] = told["description"]
    if kind == "custom":
        form = told.get("format")
        if isinstance(form, dict) and form.get("type", "text") != "text":
            raise unsupported(f"{where}.format", "tools that follow a grammar")
        return cached({**spec, "input_schema": _FREE_TEXT}, tool)
    spec["input_schema"] = schema = object_schema(told.get("parameters"), f"{where}.parameters")
    if told.get("strict") is True and can.structured and compilable(schema):
        spec["strict"] = True
    return cached(spec, tool)


def object_schema(schema: Any, where: str) -> Json:
    """Return a schema whose root is an object, as Anthropic demands of a tool's input."""
    root = table(schema or {}, where)
    if root.get("type", "object") != "object" or root.keys() & {"anyOf", "oneOf", "allOf"}:
        raise invalid(where, "the root of the schema must be a plain object")
    return {**root, "type": "object"} if root else _EMPTY


def _choice(value: Any, where: str, box: Toolbox) -> Json | None:
    if value is None or (value in ("auto", "none") and not box.specs):
        return None
    if isinstance(value, str) and value in _CHOICES and box.specs:
        return {"type": _CHOICES[value]}
    choice = table(value, where)
    if choice.get("type") == "allowed_tools":
        allowed = table(choice.get("allowed_tools"), f"{where}.allowed_tools")
        names = [_named_by(tool) for tool in listed(allowed.get("tools"), f"{where}.allowed_tools")]
        box.specs = [spec for spec in box.specs if spec["name"] in names]
        if box.specs:
            return {"type": "any" if allowed.get("mode") == "required" else "auto"}
    elif (name := _named_by(choice)) in box.names:
        return {"type": "tool", "name": name}
    raise invalid(where, "no tool of the request has this name")


def _named_by(choice: Any) -> str:
    """Return the name in `{"type": T, T: {"name": …}}`, or in a function's `{"name": …}`."""
    if isinstance(choice, dict):
        for inner in (choice.get("function"), choice.get("custom"), choice):
            if isinstance(inner, dict):
                return str(inner.get("name"))
    return ""


def compilable(schema: Json) -> bool:
    """True when Anthropic compiles the schema: closed objects, no foreign and no circular `$ref`.

    A tool whose schema is not compilable loses `strict` rather than its request. Limits over all
    tools together are left to the upstream.
    """
    open_ended = any(node.get("additionalProperties") is not False for node in _objects(schema))
    refs = {
        f"#/{key}/{name}": _refs(node)
        for key in ("$defs", "definitions")
        if isinstance(schema.get(key), dict)
        for name, node in schema[key].items()
    }
    if open_ended or not _refs(schema) <= refs.keys():
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


def _refs(schema: Any) -> set[str]:
    return {str(node["$ref"]) for node in _nodes(schema) if "$ref" in node}


def _objects(schema: Any) -> list[Json]:
    return [node for node in _nodes(schema) if node.get("type") == "object"]


def _nodes(root: Any) -> list[Json]:
    """Return every object inside of a JSON value; without recursion, as depth is the client's."""
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
