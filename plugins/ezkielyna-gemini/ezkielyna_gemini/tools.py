"""OpenAI's tools, and the choice among them, as Gemini's."""

from __future__ import annotations

import re
from typing import Any

from ezkielyna import InvalidRequest, Unsupported
from ezkielyna_gemini.fields import expect

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
_OPEN = ("$ref", "anyOf", "oneOf", "allOf", "additionalProperties", "patternProperties")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


class Tools:
    """The tools of a request: `declared` functions, and names of those with free-text input.

    Functions of the deprecated `functions` are tools too; `legacy` says that the answer has to be
    in the same style.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self.declared: list[dict[str, Any]] = []
        self.custom: set[str] = set()
        self.legacy = "functions" in fields and "tools" not in fields
        self._strict = True
        name = "functions" if self.legacy else "tools"
        for position, tool in enumerate(expect(fields.get(name) or [], list, name)):
            at = f"{name}[{position}]"
            item = expect(tool, dict, at)
            self._declare({"type": "function", "function": item} if self.legacy else item, at)
        self.choice = self._choice(fields)

    def _declare(self, tool: dict[str, Any], at: str) -> None:
        kind = tool.get("type")
        if kind not in ("function", "custom"):
            raise Unsupported("Gemini takes tools of type 'function'.", param=f"{at}.type")
        function = expect(tool.get(kind), dict, f"{at}.{kind}")
        name = expect(function.get("name"), str, f"{at}.{kind}.name")
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                "A function's name begins with a letter or '_' and has at most 128 letters,"
                " digits, '_', '.', ':' or '-'.",
                param=f"{at}.{kind}.name",
            )
        declared: dict[str, Any] = {"name": name}
        if function.get("description") is not None:
            declared["description"] = expect(function["description"], str, f"{at}.description")
        schema = expect(function.get("parameters") or {}, dict, f"{at}.{kind}.parameters")
        if kind == "custom":
            self.custom.add(name)
            schema = self._free_text(function, at)
        self._strict = self._strict and function.get("strict") is True
        if not _empty(schema):
            declared["parametersJsonSchema"] = schema
        self.declared.append(declared)

    def _free_text(self, tool: dict[str, Any], at: str) -> dict[str, Any]:
        form = tool.get("format")
        if form is not None and expect(form, dict, f"{at}.custom.format").get("type") != "text":
            raise Unsupported("Gemini has no grammars.", param=f"{at}.custom.format")
        return _INPUT

    def _choice(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return the `functionCallingConfig`, None for Gemini's own default."""
        name = "function_call" if self.legacy else "tool_choice"
        wanted = fields.get(name)
        if not self.declared:
            if wanted in (None, "none", "auto"):
                return None
            raise InvalidRequest(f"'{name}' needs tools.", param=name)
        if wanted is None or wanted == "auto":
            return {"mode": "VALIDATED"} if self._strict else _mode("AUTO", wanted)
        if isinstance(wanted, str):
            if wanted not in _MODES:
                raise InvalidRequest(f"'{name}' is none, auto or required.", param=name)
            return {"mode": _MODES[wanted]}
        return self._named(expect(wanted, dict, name), name)

    def _named(self, wanted: dict[str, Any], at: str) -> dict[str, Any]:
        if wanted.get("type") == "allowed_tools":
            allowed = expect(wanted.get("allowed_tools"), dict, f"{at}.allowed_tools")
            mode = "ANY" if allowed.get("mode") == "required" else "VALIDATED"
            tools = expect(allowed.get("tools"), list, f"{at}.allowed_tools.tools")
            names = [self._known(tool, at) for tool in tools]
            if not names:
                raise InvalidRequest("No tool is allowed.", param=f"{at}.allowed_tools.tools")
            return {"mode": mode, "allowedFunctionNames": names}
        only = {"function": wanted} if self.legacy else wanted
        return {"mode": "ANY", "allowedFunctionNames": [self._known(only, at)]}

    def _known(self, tool: Any, at: str) -> str:
        item = expect(tool, dict, at)
        function = expect(item.get("function") or item.get("custom"), dict, f"{at}.function")
        name = expect(function.get("name"), str, f"{at}.function.name")
        if not any(declared["name"] == name for declared in self.declared):
            raise InvalidRequest(f"There is no tool '{name}'.", param=at)
        return name


def _mode(mode: str, wanted: Any) -> dict[str, Any] | None:
    return None if wanted is None else {"mode": mode}


def _empty(schema: dict[str, Any]) -> bool:
    """True for the schema of a function without parameters, which Gemini wants left out."""
    return not schema.get("properties") and not any(schema.get(key) for key in _OPEN)
