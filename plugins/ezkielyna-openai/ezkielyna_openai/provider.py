"""The provider for OpenAI and every server that speaks its API."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, field_validator

from ezkielyna import ApiRequest, Exchange, Provider, ProviderSettings
from ezkielyna import __version__ as version
from ezkielyna_openai.exchange import OpenAIExchange
from ezkielyna_openai.presets import COMPATIBLE, OPENAI, PRESETS, Preset
from ezkielyna_openai.repairs import Repairs, triggers
from ezkielyna_openai.requests import PATHS


class OpenAIProvider(Provider):
    """Any server that speaks OpenAI's API.

    A new kind of server is a subclass with a `kind` and a `preset`; where that is not enough it
    names an `OpenAIExchange` of its own.
    """

    kind = "openai"
    preset_name: ClassVar[str] = ""
    """The preset of this kind; empty: told by the address."""

    exchange_class: ClassVar[type[OpenAIExchange]] = OpenAIExchange

    class Settings(ProviderSettings):
        """A preset says what is known about a server; the other fields correct it."""

        preset: str = Field("", description="the kind of server: " + ", ".join(PRESETS))
        api_version: str | None = Field(None, description="`api-version` in the address (Azure)")
        max_tokens_field: str | None = Field(
            None, description="the name of the output limit, where the client sent none"
        )
        usage_in_stream: bool | None = Field(
            None, description="whether the server takes `stream_options.include_usage`"
        )
        drop_fields: tuple[str, ...] | None = Field(
            None, description="fields of a request that are never sent"
        )

        @field_validator("preset")
        @classmethod
        def _known(cls, value: str) -> str:
            if value and value not in PRESETS:
                raise ValueError(f"must be one of {', '.join(PRESETS)}")
            return value

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings)
        self.secret = settings.api_key.get_secret_value()
        self.preset = self._preset()
        self.repairs = Repairs(self.preset.repairs)
        """Of plain answers, which need no memory of what came before."""
        self.triggers = triggers(self.preset.repairs)
        self.spaced_triggers = triggers(self.preset.repairs, spaced=True)
        self.headers = self._headers()
        self._one_url = "{model}" not in self.preset.path
        self.move(settings.base_url or self.preset.base_url)

    def move(self, base_url: str) -> None:
        """Send requests to this address from now on."""
        self.base_url = base_url
        self._url = lru_cache(maxsize=1024)(self._address)
        self._urls = {endpoint: self._address(endpoint, "") for endpoint in PATHS}

    def exchange(self, request: ApiRequest, model: str) -> Exchange:
        """Return the exchange for this request to `model`."""
        return self.exchange_class(self, request, model)

    def url(self, endpoint: str, model: str) -> str:
        """Return the address of an endpoint."""
        return self._urls[endpoint] if self._one_url else self._url(endpoint, model)

    def _address(self, endpoint: str, model: str) -> str:
        path = self.preset.path.format(
            path=PATHS[endpoint], model=quote(model, safe=""), api_version=self.preset.api_version
        )
        return self.base_url + path

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": f"ezkielyna/{version}"}
        if self.secret:
            headers[self.preset.key_header] = self.preset.key_prefix + self.secret
        own = {name.lower(): value for name, value in self.settings.headers.items()}
        return headers | own

    def _preset(self) -> Preset:
        stated = getattr(self.settings, "preset", "") or self.preset_name
        if stated:
            known = PRESETS[stated]
        elif self.settings.base_url in ("", OPENAI.base_url):
            known = OPENAI
        else:
            known = COMPATIBLE
        corrections: dict[str, Any] = {
            name: value
            for name in ("api_version", "max_tokens_field", "usage_in_stream", "drop_fields")
            if (value := getattr(self.settings, name, None)) is not None
        }
        return replace(known, **corrections) if corrections else known
