"""Tools, tool choice and structured output: from OpenAI's words to Anthropic's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from ezkielyna import InvalidRequest, Unsupported
from ezkielyna_anthropic.models import Capabilities

Json = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
JSON_TOOL = "json_schema_output"
"""The tool that stands for `response_format` where a model has no structured output."""

_CUSTOM_SCHEMA: Json = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def invalid(where: str, what: str) -> InvalidRequest:
    """Return the 400 that names a field and says what is wrong with it."""
    return InvalidRequest(f"Invalid value for '{where}': {what}.", param=where)


def table(value: Any, where: str) -> Json:
    """Return the value as an object; raises InvalidRequest for anything else."""
    if not isinstance(value, dict):
        raise invalid(where, "expected an object")
    return value


def listed(value: Any, where: str) -> list[Any]:
    """Return the value as an array; raises InvalidRequest for anything else."""
    if not isinstance(value, list):
        raise invalid(where, "expected an array")
    return value


def named(value: Any, where: str) -> str:
    """Return a name that Anthropic takes for a tool; raises InvalidRequest for anything else."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise invalid(where, "expected 1 to 128 letters, digits, '_' and '-'")
    return value


@dataclass(slots=True)
class Toolbox:
    """The tools of a request, and what the answer's calls have to be turned back into.

    `custom` names the tools whose one argument is free text. `functions` is true where the client
    speaks of deprecated functions and wants its answer so. `json` is true where calls of
    `JSON_TOOL` are the answer's text.
    """

    specs: list[Json] = field(default_factory=list)
    choice: Json | None = None
    custom: frozenset[str] = frozenset()
    functions: bool = False
    json: bool = False

    @property
    def forced(self) -> bool:
        """True when the model has no choice but to call a tool."""
        return self.choice is not None and self.choice["type"] in ("any", "tool")

    def for_history(self, names: set[str]) -> None:
        """Declare the tools that only the history names: their calls need them declared."""
        missing = names - {spec["name"] for spec in self.specs}
        empty = {"type": "object", "properties": {}}
        if missing and not self.specs:
            self.choice = {"type": "none"}
            self.specs = [{"name": name, "input_schema": empty} for name in sorted(missing)]

    def for_json(self, schema: Json) -> None:
        """Offer the answer's schema as a tool that must be called, unless another one must."""
        self.json = self.choice is None or self.choice["type"] in ("auto", "none")
        if not self.json:
            return
        alone = not self.specs or self.choice == {"type": "none"}
        self.specs = [*self.specs, {"name": JSON_TOOL, "input_schema": object_schema(schema)}]
        self.choice = {"type": "tool", "name": JSON_TOOL} if alone else {"type": "any"}


def toolbox(fields: Json, can: Capabilities) -> Toolbox:
    """Return the tools of a request; raises InvalidRequest or Unsupported naming the field."""
    if "functions" in fields and "tools" not in fields:
        return _functions(fields, can)
    offered = [
        _tool(tool, f"tools[{at}]", can)
        for at, tool in enumerate(listed(fields.get("tools", []), "tools"))
    ]
    box = Toolbox(
        specs=[spec for spec, _ in offered],
        custom=frozenset(spec["name"] for spec, custom in offered if custom),
    )
    names = [spec["name"] for spec in box.specs]
    if len(set(names)) < len(names):
        raise invalid("tools", "two tools have the same name")
    box.choice = _choice(fields.get("tool_choice"), box)
    parallel = fields.get("parallel_tool_calls")
    if parallel is False and box.specs:
        box.choice = box.choice or {"type": "auto"}
        if box.choice["type"] != "none":
            box.choice["disable_parallel_tool_use"] = True
    return box


def _functions(fields: Json, can: Capabilities) -> Toolbox:
    """Return the deprecated functions as tools, one call at a time as the client expects."""
    box = Toolbox(functions=True)
    for at, function in enumerate(listed(fields["functions"], "functions")):
        box.specs.append(_function(function, f"functions[{at}]", can))
    choice = fields.get("function_call")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    box.choice = _choice(choice, box) or {"type": "auto"}
    if not box.specs:
        box.choice = None
    elif box.choice["type"] != "none":
        box.choice["disable_parallel_tool_use"] = True
    return box


def _tool(value: Any, where: str, can: Capabilities) -> tuple[Json, bool]:
    tool = table(value, where)
    kind = tool.get("type")
    if kind == "function":
        function = table(tool.get("function"), f"{where}.function")
        spec = _function(function, f"{where}.function", can)
    elif kind == "custom":
        spec = _custom(table(tool.get("custom"), f"{where}.custom"), f"{where}.custom")
    else:
        raise Unsupported(f"This model's upstream has no tool of type {kind!r}.", param=where)
    if isinstance(tool.get("cache_control"), dict):
        spec["cache_control"] = tool["cache_control"]
    return spec, kind == "custom"


def _function(value: Any, where: str, can: Capabilities) -> Json:
    function = table(value, where)
    schema = object_schema(function.get("parameters"), f"{where}.parameters")
    spec: Json = {"name": named(function.get("name"), f"{where}.name"), "input_schema": schema}
    if isinstance(function.get("description"), str):
        spec["description"] = function["description"]
    if function.get("strict") is True and can.structured and compilable(schema):
        spec["strict"] = True
    return spec


def _custom(custom: Json, where: str) -> Json:
    form = custom.get("format")
    if isinstance(form, dict) and form.get("type", "text") != "text":
        raise Unsupported("This upstream cannot hold a tool to a grammar.", param=f"{where}.format")
    spec = {"name": named(custom.get("name"), f"{where}.name"), "input_schema": _CUSTOM_SCHEMA}
    if isinstance(custom.get("description"), str):
        spec["description"] = custom["description"]
    return spec


def object_schema(schema: Any, where: str = "response_format.json_schema.schema") -> Json:
    """Return a schema whose root is an object, as Anthropic demands of a tool's input."""
    if schema is None:
        return {"type": "object", "properties": {}}
    root = table(schema, where)
    kind = root.get("type", "object")
    if kind != "object" or not {"anyOf", "oneOf", "allOf"}.isdisjoint(root):
        raise invalid(where, "the root of the schema must be a plain object")
    return {"type": "object", "properties": {}} if not root else {**root, "type": "object"}


def _choice(value: Any, box: Toolbox) -> Json | None:
    if value is None or (value in ("auto", "none") and not box.specs):
        return None
    if not box.specs:
        raise invalid("tool_choice", "it is only allowed together with tools")
    if isinstance(value, str):
        words = {"auto": "auto", "none": "none", "required": "any"}
        if value not in words:
            raise invalid("tool_choice", "expected 'none', 'auto', 'required' or an object")
        return {"type": words[value]}
    choice = table(value, "tool_choice")
    if choice.get("type") == "allowed_tools":
        return _allowed(table(choice.get("allowed_tools"), "tool_choice.allowed_tools"), box)
    return {"type": "tool", "name": _known(choice, "tool_choice", box)}


def _allowed(allowed: Json, box: Toolbox) -> Json:
    where = "tool_choice.allowed_tools"
    tools = listed(allowed.get("tools"), f"{where}.tools")
    names = {
        _known(table(tool, f"{where}.tools[{at}]"), f"{where}.tools[{at}]", box)
        for at, tool in enumerate(tools)
    }
    if not names:
        raise invalid(f"{where}.tools", "name at least one tool")
    box.specs = [spec for spec in box.specs if spec["name"] in names]
    return {"type": "any" if allowed.get("mode") == "required" else "auto"}


def _known(choice: Json, where: str, box: Toolbox) -> str:
    kind = choice.get("type")
    if kind not in ("function", "custom"):
        raise Unsupported(f"This upstream cannot choose a tool of type {kind!r}.", param=where)
    name = table(choice.get(kind), f"{where}.{kind}").get("name")
    if not any(spec["name"] == name for spec in box.specs):
        raise invalid(f"{where}.{kind}.name", "no tool of the request has this name")
    return str(name)


def compilable(schema: Json) -> bool:
    """True when Anthropic compiles the schema: closed objects, no foreign and no circular `$ref`.

    A tool whose schema is not compilable loses `strict` rather than its request. Limits over all
    tools together are left to the upstream.
    """
    definitions = {
        f"#/{key}/{name}": node
        for key in ("$defs", "definitions")
        if isinstance(schema.get(key), dict)
        for name, node in schema[key].items()
    }
    if not _refs(schema) <= definitions.keys():
        return False
    while leaves := [
        name for name, node in definitions.items() if not _refs(node) & definitions.keys()
    ]:
        for name in leaves:
            del definitions[name]
    open_ended = any(
        node.get("type") == "object" and node.get("additionalProperties") is not False
        for node in nodes(schema)
    )
    return not definitions and not open_ended


def closed(schema: Json) -> Json:
    """Return a copy in which every object that does not say so takes no further properties."""
    copy: Json = orjson.loads(encoded(schema))
    for node in nodes(copy):
        if node.get("type") == "object":
            node.setdefault("additionalProperties", False)
    return copy


def encoded(document: Json) -> bytes:
    """Return the document as JSON; raises InvalidRequest where it is nested too deeply."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"The request cannot be passed on: {error}.") from None


def _refs(root: Any) -> set[str]:
    return {str(node["$ref"]) for node in nodes(root) if "$ref" in node}


def nodes(root: Any) -> list[Json]:
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
