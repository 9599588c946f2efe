"""The catalogue: models, plans, and the objects that configuration makes of the plugins' classes.

Built once at start-up; nothing in it changes afterwards, so the request path reads dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.context import Key, Model, Plan, covers
from ezkielyna.contract.errors import ModelNotFound
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.contract.money import Price
from ezkielyna.contract.payment import PaymentMethod
from ezkielyna.contract.provider import Provider
from ezkielyna.plugins import Registries, blaming
from ezkielyna.settings import Fault, Refused, Settings, SettingsRefused, dotted, explained

Document = dict[str, Any]
S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What can be served, and how it can be paid. Every model names a provider that is here, every
    plan a limiter by its kind and a billing policy by its table's name or its kind.
    """

    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    plans: Mapping[str, Plan]
    limiters: Mapping[str, RateLimiter]
    policies: Mapping[str, BillingPolicy]
    payments: Mapping[str, PaymentMethod]
    documents: Mapping[str, Document]

    def model(self, name: str) -> Model:
        """Return a model by its public name; raises ModelNotFound."""
        try:
            return self.models[name]
        except KeyError:
            raise missing_model(name) from None

    def prices(self) -> tuple[Price, ...]:
        """Return every price that a bill can be made at."""
        found = {
            price.version: price
            for policy in self.policies.values()
            for model in self.models.values()
            for price in policy.prices(model)
        }
        return tuple(found.values())

    def visible(self, plan: Plan, key: Key) -> tuple[Model, ...]:
        """Return the models that this plan and key may use, in the order of the configuration."""
        return tuple(model for model in self.models.values() if may_use(plan, key, model.name))

    def document(self, name: str, plan: Plan, key: Key) -> Document:
        """Return what `/models/{id}` shows; raises ModelNotFound where this key may not use it."""
        if name not in self.models or not may_use(plan, key, name):
            raise missing_model(name)
        return self.documents[name]

    def listing(
        self, plan: Plan, key: Key, *, limit: int | None = None, after: str | None = None
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
            "data": [self.documents[name] for name in page],
            "has_more": len(page) < len(names),
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }


def may_use(plan: Plan, key: Key, model: str) -> bool:
    """True when the plan includes the model and the key is not narrowed to others."""
    return plan.allows(model) and (not key.models or covers(key.models, model))


def missing_model(name: str) -> ModelNotFound:
    """Return the error for an unknown model, in OpenAI's words."""
    return ModelNotFound(
        f"The model `{name[:256]}` does not exist or you do not have access to it.", param="model"
    )


def build_catalogue(settings: Settings, registries: Registries) -> Catalogue:
    """Return the catalogue of a configuration; raises SettingsRefused with every fault."""
    faults = list(_dangling(settings, registries))
    models = {name: _model(settings, name) for name in settings.models}
    catalogue = Catalogue(
        providers=_providers(settings, registries, faults),
        models=MappingProxyType(models),
        plans=MappingProxyType(
            {name: chosen.plan(name) for name, chosen in settings.plans.items()}
        ),
        limiters=_limiters(settings, registries, faults),
        policies=_policies(settings, registries, faults),
        payments=_payments(settings, registries, faults),
        documents=MappingProxyType({name: _document(model) for name, model in models.items()}),
    )
    if faults:
        raise SettingsRefused(faults)
    return catalogue


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
    return _configured(
        settings,
        ("providers", name),
        class_.Settings,
        table,
        faults,
        lambda chosen: registries.make(class_, name, chosen),
    )


def _configured(
    settings: Settings,
    at: tuple[str, ...],
    shape: type[S],
    table: Document,
    faults: list[Fault],
    make: Callable[[S], T],
) -> T | None:
    """Return what is made of the table at this place; None where that is a fault."""
    try:
        return make(shape.model_validate(table))
    except ValidationError as error:
        for path, reason in explained(error, shape, table).items():
            place = (*at, *path)
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
        vocabulary=chosen.vocabulary,
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
        for pattern in plan.model:
            if not any(covers((pattern,), model) for model in settings.models):
                at = ("plans", name, "model", pattern)
                reason = "limits no model: no configured name is so, or begins so with a *"
                yield Fault(settings.origin(*at), dotted(at), reason)
        if plan.billing not in settings.billing and plan.billing not in registries.billing:
            place = ("plans", name, "billing")
            there = ", ".join([*settings.billing, *registries.billing])
            reason = (
                f"there is no [billing.{plan.billing}], and no plugin named in `plugins` offers "
                f"such a kind; tables and kinds are: {there}"
            )
            yield Fault(settings.origin(*place), dotted(place), reason)


def _no_such(
    settings: Settings, place: tuple[str, ...], kind: str, offered: Mapping[str, type]
) -> Fault:
    there = ", ".join(offered) or "none"
    reason = f"no plugin named in `plugins` offers kind {kind!r}; kinds on offer: {there}"
    return Fault(settings.origin(*place), dotted(place), reason)


def _limiters(
    settings: Settings, registries: Registries, faults: list[Fault]
) -> Mapping[str, RateLimiter]:
    """Return one limiter of every kind that a plan uses."""
    made: dict[str, RateLimiter] = {}
    kinds = {plan.limiter for plan in settings.plans.values()}
    for kind in sorted(kinds & set(registries.limiters)):
        class_ = registries.limiters[kind]
        try:
            with blaming(registries.offered_by[class_], class_.__name__):
                made[kind] = class_.build(settings.server.processes, settings.redis.url)
        except Refused as refused:
            faults.extend(refused.faults)
    return MappingProxyType(made)


def _policies(
    settings: Settings, registries: Registries, faults: list[Fault]
) -> Mapping[str, BillingPolicy]:
    """Return one policy of every table, and of every kind that a plan names without a table."""
    made: dict[str, BillingPolicy] = {}
    kinds = {plan.billing for plan in settings.plans.values()} & set(registries.billing)
    for name in sorted(kinds | set(settings.billing)):
        policy = _policy(settings, registries, name, faults)
        if policy is not None:
            made[name] = policy
    return MappingProxyType(made)


def _policy(
    settings: Settings, registries: Registries, name: str, faults: list[Fault]
) -> BillingPolicy | None:
    table = dict(settings.billing.get(name, {"kind": name}))
    kind = table.pop("kind")
    class_ = registries.billing.get(kind)
    if class_ is None:
        faults.append(_no_such(settings, ("billing", name, "kind"), kind, registries.billing))
        return None
    return _configured(
        settings,
        ("billing", name),
        class_.Settings,
        table,
        faults,
        lambda chosen: registries.make(class_, chosen),
    )


def _payments(
    settings: Settings, registries: Registries, faults: list[Fault]
) -> Mapping[str, PaymentMethod]:
    """Return one payment method of every table."""
    made: dict[str, PaymentMethod] = {}
    for name in settings.payments:
        method = _payment(settings, registries, name, faults)
        if method is not None:
            made[name] = method
    return MappingProxyType(made)


def _payment(
    settings: Settings, registries: Registries, name: str, faults: list[Fault]
) -> PaymentMethod | None:
    table = dict(settings.payments[name])
    kind = table.pop("kind")
    class_ = registries.payments.get(kind)
    if class_ is None:
        faults.append(_no_such(settings, ("payments", name, "kind"), kind, registries.payments))
        return None
    return _configured(
        settings,
        ("payments", name),
        class_.Settings,
        table,
        faults,
        lambda chosen: registries.make(class_, name, chosen),
    )


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
