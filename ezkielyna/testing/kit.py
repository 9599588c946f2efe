"""The pytest plugin of the kit: two fixtures, for tests of any style, asynchronous or not.

It is loaded in every pytest run of an environment with the core, so it imports nothing large
before a fixture is used, and has no fixture that runs by itself.

```python
def test_it_streams(scripted_upstream, serve_gateway):
    upstream = scripted_upstream(streaming([HELLO]))
    gateway = serve_gateway(CONFIG.format(url=upstream.url))
    client = OpenAI(base_url=gateway.api, api_key=gateway.key)
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ezkielyna.testing.background import BackgroundUpstream, Served
    from ezkielyna.testing.scripted import Script

pytest.register_assert_rewrite("ezkielyna.testing.contracts")


@pytest.fixture
def scripted_upstream() -> Iterator[Callable[..., BackgroundUpstream]]:
    """Return what starts an upstream on a real socket: `scripted_upstream(script, …)`.

    It runs in a thread of its own until the test ends; with several scripts the first request
    gets the first one, and so on; the last one repeats.
    """
    from ezkielyna.testing.background import BackgroundUpstream

    with ExitStack() as stack:

        def start(*scripts: Script) -> BackgroundUpstream:
            return stack.enter_context(BackgroundUpstream(*scripts))

        yield start


@pytest.fixture
def serve_gateway(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Return what serves a configuration: `serve_gateway(toml, credit="5")`.

    A whole gateway in a process of its own: on a free port, with the embedded database in a folder
    of the test, an account with this credit in USD, and a key of it.
    """
    from ezkielyna.testing.background import served

    with ExitStack() as stack:

        def start(configuration: str, *, credit: str = "5") -> Served:
            folder = tmp_path / f"gateway-{len(list(tmp_path.glob('gateway-*')))}"
            folder.mkdir()
            return stack.enter_context(served(configuration, folder, credit))

        yield start
