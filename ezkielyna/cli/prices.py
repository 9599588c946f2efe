"""`ezkielyna prices diff`: which prices of the catalogue are no list prices any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.options import Setup, command_options
from ezkielyna.cli.printing import json_option, print_json, print_table
from ezkielyna.contract.money import NANOS_PER_USD, Nano, usd

if TYPE_CHECKING:
    from ezkielyna.contract.context import Model

LIST_KEYS: Mapping[str, str] = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "output": "output_mtok",
    "audio_in": "input_audio_mtok",
    "audio_out": "output_audio_mtok",
}
"""Our price keys, and the names of genai-prices, both in USD per million tokens."""

ListPrices = Mapping[str, tuple[Decimal, ...]]
"""List prices by our keys: the usual one, then those of longer prompts."""

LookUp = Callable[[str, str], ListPrices | None]
"""Returns the list prices of (an upstream's model, at this address); None when it is not known."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A price that is not the list's. `listed` in USD; `ours` in nano-dollars."""

    model: str
    key: str
    ours: Nano
    listed: Decimal
    priced_on: date | None

    @property
    def percent(self) -> str:
        """By how much ours is above the list price, such as `+20.0 %`."""
        if not self.listed:
            return ""
        return f"{(Decimal(self.ours) / NANOS_PER_USD / self.listed - 1) * 100:+.1f} %"

    def document(self) -> dict[str, Any]:
        """Return what `--json` prints; amounts in USD per million tokens."""
        return {
            "model": self.model,
            "price": self.key,
            "ours": usd(self.ours),
            "list": _plain(self.listed),
            "priced_on": self.priced_on,
        }


@click.group()
def prices() -> None:
    """Compare prices with the vendors' lists."""


@prices.command()
@json_option
@command_options
def diff(setup: Setup, as_json: bool) -> None:
    """Show prices that differ from the list prices that genai-prices knows.

    Install it with: pip install 'ezkielyna[prices]'. It brings its list along and asks nobody.
    """
    look_up = _genai_prices()
    found, unknown = _compared(setup, look_up)
    if as_json:
        print_json([difference.document() for difference in found])
        return
    print_table(
        ("MODEL", "PRICE", "OURS USD", "LIST USD", "OURS IS", "PRICED ON"),
        [
            (d.model, d.key, usd(d.ours), _plain(d.listed), d.percent, str(d.priced_on or ""))
            for d in found
        ],
        empty="No price differs from the list.",
    )
    if unknown:
        click.echo(f"Not in the list, or at an unknown address: {', '.join(unknown)}.", err=True)


def _compared(setup: Setup, look_up: LookUp) -> tuple[list[Difference], list[str]]:
    """Return the differences, and the names of models without a list price."""
    from ezkielyna.gateway.catalogue import build_catalogue
    from ezkielyna.plugins import load_plugins

    catalogue = build_catalogue(setup.settings, load_plugins(setup.settings))
    found: list[Difference] = []
    unknown: list[str] = []
    for model in catalogue.models.values():
        address = catalogue.providers[model.provider].settings.base_url
        listed = look_up(model.upstream_model, address)
        if listed is None:
            unknown.append(model.name)
        else:
            found += differences(model, setup.settings.models[model.name].priced_on, listed)
    return found, unknown


def differences(model: Model, priced_on: date | None, listed: ListPrices) -> Iterator[Difference]:
    """Yield the prices of a model that are none of the listed ones.

    A price that the catalogue leaves out is compared as what is billed in its place.
    """
    from ezkielyna.settings.model import RATE_KEYS

    for key, amounts in listed.items():
        ours = model.price.rate(RATE_KEYS[key])
        if all(ours != amount * NANOS_PER_USD for amount in amounts):
            yield Difference(model.name, key, ours, amounts[0], priced_on)


def _genai_prices() -> LookUp:
    """Return the look-up in genai-prices; raises ClickException where it is not installed."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        raise click.ClickException(
            "genai-prices is not installed; it knows the list prices. "
            "Install it with: pip install 'ezkielyna[prices]'"
        ) from None
    snapshot: Any = get_snapshot()
    now = datetime.now(UTC)

    def look_up(model: str, address: str) -> ListPrices | None:
        try:
            _, known = snapshot.find_provider_model(model, None, None, address)
        except LookupError:
            return None
        listed = known.get_prices(now)
        values = {key: getattr(listed, name, None) for key, name in LIST_KEYS.items()}
        return {key: _amounts(value) for key, value in values.items() if value is not None}

    return look_up


def _amounts(value: Any) -> tuple[Decimal, ...]:
    """Return a price, or all prices of one that rises with the prompt."""
    if isinstance(value, Decimal | int):
        return (Decimal(value),)
    return (value.base, *(tier.price for tier in value.tiers))


def _plain(amount: Decimal) -> str:
    """Return an amount as `usd` writes it, with as many decimals as it has."""
    text = f"{amount:f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
