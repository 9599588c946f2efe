"""The provider of simulated models."""

from __future__ import annotations

from pydantic import Field

from ezkielyna import ProviderSettings
from ezkielyna_openai import OpenAIProvider
from ezkielyna_simulator.script import Script
from ezkielyna_simulator.server import SimulatedServer


class SimulatorProvider(OpenAIProvider):
    """Speaks to a simulated server over real HTTP.

    Without a `base_url`, the plugin starts such a server inside the process, on a free loopback
    port, before the gateway accepts connections; `address` is empty until then.
    """

    kind = "simulator"
    preset_name = "openai"

    class Settings(OpenAIProvider.Settings):
        """How the server inside the process behaves."""

        first_byte_s: float = Field(0.05, ge=0, description="from a request to its answer's head")
        pace: float = Field(60.0, ge=0, description="chunks a second of a stream; 0: all at once")
        length: int = Field(0, ge=0, description="tokens of an answer; 0: a natural length")
        error_rate: float = Field(0.0, ge=0, le=1, description="share of requests that fail")
        seed: int = Field(0, description="the same seed and request give the same answer")

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings)
        self.server: SimulatedServer | None = None

    @property
    def address(self) -> str:
        """What precedes an endpoint's path."""
        return self.base_url if self.server or self.settings.base_url else ""

    @property
    def script(self) -> Script:
        """The settings, as the server takes them."""
        settings = self.settings
        assert isinstance(settings, SimulatorProvider.Settings)
        return Script(
            first_byte_s=settings.first_byte_s,
            pace=settings.pace,
            tokens=settings.length,
            error_rate=settings.error_rate,
            seed=settings.seed,
        )

    async def start(self) -> None:
        """Start the server, unless the settings name one that runs elsewhere."""
        if self.server is None and not self.settings.base_url:
            server = SimulatedServer(self.script)
            self.move(await server.start())
            self.server = server

    async def stop(self) -> None:
        """Stop the server, if it was started here."""
        server, self.server = self.server, None
        if server is not None:
            await server.close()
