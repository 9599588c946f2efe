"""A conftest's fixture wins over a plugin's: ours takes the place of pytest-tornasync's."""

from ezkielyna.testing.fixtures import io_loop

__all__ = ["io_loop"]
