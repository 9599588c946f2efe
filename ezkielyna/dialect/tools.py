"""Tools, and the choice among them, as a client means them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from ezkielyna.dialect.reading import (
    Json,
    flag,
    invalid,
    listed,
    named,
    table,
    text,
    unsupported,
)

FREE_TEXT: Json = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""The schema that stands for the free text of a custom tool."""

Mode = Literal["auto", "none", "required"]
_MODES: dict[str, Mode] = {"auto": "auto", "none": "none", "required": "required"}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool; `schema` is empty where it takes no arguments. `given` holds extensions."""

    name: str
    description: str | None
    schema: Json
    strict: bool
    custom: bool
    where: str
    given: Json

    @property
    def head(self) -> Json:
        """Name and description, as most dialects write them."""
        known = {} if self.description is None else {"description": self.description}
        return {"name": self.name, **known}


class Tools:
    """The tools of a request: `declared`, with different names, and the choice among them.

    `mode` is None where the client left the choice to the upstream. `only` names the tools that may
    be called, where not all may; with `forced` it is the one that must be. `single` is true where
    the client wants at most one call, `legacy` where it speaks of the deprecated functions and
    wants its answer so.
    """

    def __init__(self, fields: Json, names: re.Pattern[str]) -> None:
        """Read a request; `names` is what the upstream takes for a name.

        Raises InvalidRequest or Unsupported naming the field.
        """
        self.legacy = "functions" in fields and "tools" not in fields
        where = "functions" if self.legacy else "tools"
        self.declared: list[Tool] = []
        for at, value in enumerate(listed(fields.get(where, []), where)):
            given = {"type": "function", "function": value} if self.legacy else value
            self.declared.append(_tool(table(given, f"{where}[{at}]"), f"{where}[{at}]", names))
        if len({tool.name for tool in self.declared}) < len(self.declared):
            raise invalid(where, "two tools have the same name")
        parallel = flag(fields.get("parallel_tool_calls", True), "parallel_tool_calls")
        # A client that knows functions expects one call at a time.
        self.single = self.legacy or not parallel
        self.mode: Mode | None = None
        self.only: tuple[str, ...] = ()
        self.forced = False
        self._choose(fields)

    @property
    def custom(self) -> frozenset[str]:
        """The names of the tools whose one argument is free text."""
        return frozenset(tool.name for tool in self.declared if tool.custom)

    def _choose(self, fields: Json) -> None:
        where = "function_call" if self.legacy else "tool_choice"
        wanted = fields.get(where)
        if not self.declared:
            if wanted not in (None, "auto", "none"):
                raise invalid(where, "the request has no tools")
        elif isinstance(wanted, str):
            if wanted not in _MODES:
                raise invalid(where, f"expected one of {', '.join(_MODES)}, or a tool")
            self.mode = _MODES[wanted]
        elif wanted is not None:
            self._choose_by_name(table(wanted, where), where)

    def _choose_by_name(self, wanted: Json, where: str) -> None:
        if wanted.get("type") == "allowed_tools":
            where = f"{where}.allowed_tools"
            allowed = table(wanted.get("allowed_tools"), where)
            tools = listed(allowed.get("tools"), f"{where}.tools")
            self.mode = "required" if allowed.get("mode") == "required" else "auto"
            self.only = tuple(self._known(tool, where) for tool in tools)
            if not self.only:
                raise invalid(f"{where}.tools", "no tool is allowed")
        else:
            self.mode, self.only, self.forced = "required", (self._known(wanted, where),), True

    def _known(self, wanted: Any, where: str) -> str:
        """Return the name in `{"type": T, T: {"name": …}}`, or in a function's `{"name": …}`."""
        choice = table(wanted, where)
        inner = choice.get("function") or choice.get("custom") or choice
        name = inner.get("name") if isinstance(inner, dict) else None
        if not any(tool.name == name for tool in self.declared):
            raise invalid(where, "no tool of the request has this name")
        return str(name)


def _tool(given: Json, where: str, names: re.Pattern[str]) -> Tool:
    kind = given.get("type")
    if kind not in ("function", "custom"):
        raise unsupported(f"{where}.type", f"tools of type {kind!r}")
    where = f"{where}.{kind}"
    inner = table(given.get(kind), where)
    described = inner.get("description")
    schema = table(inner.get("parameters") or {}, f"{where}.parameters")
    if kind == "custom":
        form = inner.get("format")
        if form is not None and table(form, f"{where}.format").get("type", "text") != "text":
            raise unsupported(f"{where}.format", "tools that follow a grammar")
        schema = FREE_TEXT
    return Tool(
        name=named(inner.get("name"), names, f"{where}.name"),
        description=None if described is None else text(described, f"{where}.description"),
        schema=schema,
        strict=inner.get("strict") is True,
        custom=kind == "custom",
        where=where,
        given=given,
    )
