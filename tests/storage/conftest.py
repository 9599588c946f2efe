"""What tests of drivers share."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture
def abandoned_sockets() -> Iterator[None]:
    """Collect what PyMongo's asyncio client leaves open when it is closed while it connects."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
