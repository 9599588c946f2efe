"""Ezkielyna: an OpenAI-compatible LLM gateway. What is exported here is the contract of plugins.

The names are those of `ezkielyna.exports`, which is imported when the first of them is asked for:
a command that needs none of them starts without the contract and pydantic.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezkielyna.exports import *  # noqa: F403 - its `__all__` says which
    from ezkielyna.exports import __all__ as __all__

__version__ = "0.1.0"

if not TYPE_CHECKING:  # type checkers would believe that it answers for every name

    def __getattr__(name: str) -> object:
        """Return an exported name, which is an ordinary one of this module from then on."""
        from importlib import import_module

        if not name.startswith("_") or name == "__all__":
            exports = import_module("ezkielyna.exports")
            if name in exports.__all__ or name == "__all__":
                globals()[name] = getattr(exports, name)
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Return every name, also of those that nobody asked for yet."""
        return sorted({*globals(), *__getattr__("__all__")})
