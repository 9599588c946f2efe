"""The catalogue: models, plans, and the objects that configuration makes of the plugins' classes.

Built once at start-up; nothing in it changes afterwards, so the request path reads dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.context import Key, Model, Plan, covers
from ezkielyna.contract.errors import ModelNotFound
from ezkielyna.contract.provider import Provider
from ezkielyna.plugins import Registries
from ezkielyna.settings import Fault, Refused, Settings, SettingsRefused, dotted, explained

Document = dict[str, Any]


class Catalogue:
    """What can be served. Every model names a provider that is here, every plan a limiter that
    the registries have and a billing policy that is here.
    """

    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    plans: Mapping[str, Plan]

    def __init__(self, settings: Settings, registries: Registries) -> None:
        """Raises SettingsRefused with every fault of the configuration."""
        faults = list(_dangling(settings, registries))
        self.providers = _providers(settings, registries, faults)
        self.models = MappingProxyType({name: _model(settings, name) for name in settings.models})
        self.plans = MappingProxyType(
            {name: chosen.plan(name) for name, chosen in settings.plans.items()}
        )
        self._policies = _policies(settings, registries, faults)
        if faults:
            raise SettingsRefused(faults)
        self._documents = {name: _document(model) for name, model in self.models.items()}

    def model(self, name: str) -> Model:
        """Return a model by its public name; raises ModelNotFound in OpenAI's words."""
        try:
            return self.models[name]
        except KeyError:
            raise ModelNotFound(
                f"The model `{name[:256]}` does not exist or you do not have access to it.",
                param="model",
            ) from None

    def policy(self, plan: Plan) -> BillingPolicy:
        """Return the billing policy of a plan of this catalogue."""
        return self._policies[plan.billing]

    def visible(self, plan: Plan, key: Key) -> tuple[Model, ...]:
        """Return the models that this plan and key may use, in the order of the configuration."""
        return tuple(model for model in self.models.values() if may_use(plan, key, model.name))

    def document(self, model: Model) -> Document:
        """Return what `/models/{id}` shows; not to be changed."""
        return self._documents[model.name]

    def listing(
        self, plan: Plan, key: Key, limit: int | None = None, after: str | None = None
    ) -> Document:
        """Return what `/models` shows, in the one shape that OpenAI's and Anthropic's SDKs read.

        `limit` and `after` (a model's id) page through it, as Anthropic's `limit` and `after_id`.
        """
        names = [model.name for model in self.visible(plan, key)]
        if after in names:
            names = names[names.index(after) + 1 :]
        page = names if limit is None else names[:limit]
        return {
            "object": "list",
            "data": [self._documents[name] for name in page],
            "has_more": len(page) < len(names),
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }


def may_use(plan: Plan, key: Key, model: str) -> bool:
    """True when the plan includes the model and the key is not narrowed to others."""
    return plan.allows(model) and (not key.models or covers(key.models, model))


def _providers(
    settings: Settings, registries: Registries, faults: list[Fault]
) -> Mapping[str, Provider]:
    providers: dict[str, Provider] = {}
    for name in settings.providers:
        provider = _provider(settings, registries, name, faults)
        if provider is not None:
            providers[name] = provider
    return MappingProxyType(providers)


def _provider(
    settings: Settings, registries: Registries, name: str, faults: list[Fault]
) -> Provider | None:
    table = dict(settings.providers[name])
    kind = table.pop("kind")
    class_ = registries.providers.get(kind)
    if class_ is None:
        faults.append(_no_such(settings, ("providers", name, "kind"), kind, registries.providers))
        return None
    try:
        chosen = class_.Settings.model_validate(table)
        return registries.make(class_, name, chosen)
    except ValidationError as error:
        for path, reason in explained(error, class_.Settings, table).items():
            place = ("providers", name, *path)
            faults.append(Fault(settings.origin(*place), dotted(place), reason))
    except Refused as refused:
        faults.extend(refused.faults)
    return None


def _model(settings: Settings, name: str) -> Model:
    chosen = settings.models[name]
    return Model(
        name=name,
        provider=chosen.provider,
        upstream_model=chosen.upstream_model or name,
        price=chosen.price,
        context=chosen.context,
        max_output=chosen.max_output,
        owned_by=chosen.owned_by or chosen.provider,
        display_name=chosen.display_name or name,
        created=chosen.created_at,
    )


def _dangling(settings: Settings, registries: Registries) -> Iterator[Fault]:
    """Yield a fault for every name in the configuration behind which there is nothing."""
    for name, model in settings.models.items():
        if model.provider not in settings.providers:
            place = ("models", name, "provider")
            there = ", ".join(settings.providers) or "none"
            reason = f"there is no provider {model.provider!r}; providers are: {there}"
            yield Fault(settings.origin(*place), dotted(place), reason)
    for name, plan in settings.plans.items():
        if plan.limiter not in registries.limiters:
            place = ("plans", name, "limiter")
            yield _no_such(settings, place, plan.limiter, registries.limiters)
        if plan.billing not in registries.billing:
            place = ("plans", name, "billing")
            yield _no_such(settings, place, plan.billing, registries.billing)


def _no_such(
    settings: Settings, place: tuple[str, ...], kind: str, offered: Mapping[str, type]
) -> Fault:
    there = ", ".join(offered) or "none"
    reason = f"no plugin named in `plugins` offers kind {kind!r}; kinds on offer: {there}"
    return Fault(settings.origin(*place), dotted(place), reason)


def _policies(
    settings: Settings, registries: Registries, faults: list[Fault]
) -> dict[str, BillingPolicy]:
    """Return one billing policy of every kind that a plan uses."""
    policies: dict[str, BillingPolicy] = {}
    for kind in {plan.billing for plan in settings.plans.values()} & set(registries.billing):
        try:
            policies[kind] = registries.make(registries.billing[kind])
        except Refused as refused:
            faults.extend(refused.faults)
    return policies


def _document(model: Model) -> Document:
    created_at = datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": model.name,
        "object": "model",
        "type": "model",
        "created": model.created,
        "created_at": created_at,
        "owned_by": model.owned_by,
        "display_name": model.display_name,
    }
