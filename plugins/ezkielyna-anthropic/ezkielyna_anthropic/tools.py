"""Tools, tool choice and structured output: in Anthropic's words."""

from __future__ import annotations

from ezkielyna.dialect import Json, Tool, Tools, compilable, object_schema
from ezkielyna_anthropic.messages import marked
from ezkielyna_anthropic.models import Capabilities

JSON_TOOL = "json_schema_output"
"""The tool that stands for `response_format` where a model has no structured output."""

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


class Toolbox:
    """The tools of a request; `json` is true where calls of `JSON_TOOL` are the answer's text."""

    def __init__(self, tools: Tools, called: set[str], can: Capabilities) -> None:
        """Write the client's tools; raises InvalidRequest for a schema Anthropic would refuse.

        Of tools that may not be called, those that were `called` before stay declared.
        """
        open_to_all = tools.forced or not tools.only
        known = {*tools.only, *called}
        kept = [tool for tool in tools.declared if open_to_all or tool.name in known]
        self.specs = [_spec(tool, can) for tool in kept]
        self.choice: Json | None = None
        self.json = False
        if tools.forced:
            self.choice = {"type": "tool", "name": tools.only[0]}
        elif tools.mode is not None:
            self.choice = {"type": _CHOICES[tools.mode]}
        if tools.single and self.specs and tools.mode != "none":
            self.choice = {**(self.choice or {"type": "auto"}), "disable_parallel_tool_use": True}

    @property
    def forced(self) -> bool:
        """True when the model has no choice but to call a tool."""
        return self.choice is not None and self.choice["type"] in ("any", "tool")

    def for_history(self, names: set[str]) -> None:
        """Declare the tools of a history without tools: its calls need them declared."""
        if names and not self.specs:
            self.choice = {"type": "none"}
            self.specs = [
                {"name": name, "input_schema": object_schema({}, name)} for name in sorted(names)
            ]

    def for_json(self, schema: Json) -> None:
        """Offer the answer's schema as a tool that must be called, unless another one must."""
        self.json = not self.forced
        if self.json:
            where = "response_format.json_schema.schema"
            alone = not self.specs or self.choice == {"type": "none"}
            self.specs.append({"name": JSON_TOOL, "input_schema": object_schema(schema, where)})
            self.choice = {"type": "tool", "name": JSON_TOOL} if alone else {"type": "any"}


def _spec(tool: Tool, can: Capabilities) -> Json:
    spec = tool.head | {"input_schema": object_schema(tool.schema, f"{tool.where}.parameters")}
    if tool.strict and can.structured and compilable(spec["input_schema"]):
        spec["strict"] = True
    return marked(spec, tool.given)
