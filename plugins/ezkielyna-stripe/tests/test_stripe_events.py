"""What events mean, what settings are refused, and what a customer is told when Stripe is away."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ezkielyna import Order, PaymentEvent, PaymentRefused
from ezkielyna.cli.main import main
from ezkielyna_stripe import StripePayments
from ezkielyna_stripe.events import EVENTS, GivenBack, meaning

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYMENT: dict[str, Any] = {
    "id": "pi_1",
    "amount": 2000,
    "currency": "usd",
    "metadata": {"ezkielyna_order": "pay_1"},
}
README = Path(__file__).parent.parent / "README.md"


def said(type_: str, thing: dict[str, Any]) -> PaymentEvent | GivenBack | None:
    return meaning({"type": type_, "created": int(AT.timestamp()), "data": {"object": thing}})


def of_payment(state: Any, reason: str = "", payment_id: str = "pi_1") -> PaymentEvent:
    return PaymentEvent(state, "pay_1", payment_id, 20 * 10**9, "usd", AT, reason=reason)


def test_payments() -> None:
    assert said("payment_intent.succeeded", PAYMENT) == of_payment("paid")
    assert said("payment_intent.processing", PAYMENT) == of_payment("processing")
    cancelled = of_payment("failed", "The payment was cancelled.")
    assert said("payment_intent.canceled", PAYMENT) == cancelled
    declined = {**PAYMENT, "last_payment_error": {"message": "Your card was declined."}}
    assert said("payment_intent.payment_failed", declined) == of_payment(
        "failed", "Your card was declined."
    )
    silent = of_payment("failed", "The payment did not go through.")
    assert said("payment_intent.payment_failed", PAYMENT) == silent
    session = {**PAYMENT, "id": "cs_1", "amount_total": 2000, "payment_intent": None}
    assert said("checkout.session.expired", session) == of_payment(
        "failed", "The payment page expired before anything was paid.", payment_id=""
    )


def test_what_was_received_counts() -> None:
    partly = said("payment_intent.succeeded", {**PAYMENT, "amount_received": 1500})
    assert isinstance(partly, PaymentEvent)
    assert partly.amount == 15 * 10**9


def test_money_that_went_back() -> None:
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 500, "currency": "USD"}
    back = GivenBack("pi_1", "re_1", 5 * 10**9, "usd", AT)
    for type_ in ("refund.created", "refund.updated", "charge.refund.updated"):
        assert said(type_, {**refund, "status": "succeeded"}) == back
        for status in ("pending", "failed", "canceled", "requires_action"):
            assert said(type_, {**refund, "status": status}) is None
    assert back.event("pay_1").refund_id == "re_1"
    dispute = said("charge.dispute.funds_withdrawn", {**refund, "id": "dp_1"})
    assert isinstance(dispute, GivenBack)
    assert (dispute.refund_id, dispute.reason[:24]) == ("dp_1", "The payment was disputed")
    assert said("refund.created", {**refund, "status": "succeeded", "payment_intent": None}) is None


@pytest.mark.parametrize("metadata", [{}, None, {"ezkielyna_order": ""}, {"order": "pay_1"}])
def test_what_did_not_begin_here_means_nothing(metadata: dict[str, str] | None) -> None:
    assert said("payment_intent.succeeded", {**PAYMENT, "metadata": metadata}) is None
    assert said("customer.created", PAYMENT) is None


def test_the_readme_names_every_event() -> None:
    text = README.read_text()
    assert [name for name in EVENTS if f"`{name}`" not in text] == []


def check(tmp_path: Path, table: str) -> Result:
    config = tmp_path / "shop.toml"
    config.write_text(f'plugins = ["stripe"]\n[payments.cards]\nkind = "stripe"\n{table}\n')
    return CliRunner().invoke(main, ["--config", str(config), "check"])


KEY = 'api_key = "sk_test_0123456789"'
HOOK = 'webhook_secret = "whsec_0123456789"'


@pytest.mark.parametrize(
    ("table", "key", "reason"),
    [
        (KEY, "webhook_secret", "is missing; write it"),
        (HOOK, "api_key", "is missing; write it"),
        (f'{KEY}\nwebhook_secret = ""', "webhook_secret", "begins with whsec_"),
        (f'{KEY}\nwebhook_secret = "whsec_"', "webhook_secret", "begins with whsec_"),
        (f'{HOOK}\napi_key = "pk_test_1"', "api_key", "begins with sk_ or rk_"),
        (
            f'{KEY}\nwebhook_secret = {{ env = "NO_SUCH_SECRET" }}',
            "webhook_secret",
            "NO_SUCH_SECRET is not set",
        ),
        (f"{KEY}\n{HOOK}\nwebhook = 1", "webhook", "did you mean webhook_secret?"),
    ],
)
def test_a_start_without_its_secrets_is_refused(
    tmp_path: Path, table: str, key: str, reason: str
) -> None:
    result = check(tmp_path, table)
    assert result.exit_code == 1
    assert f"shop.toml: payments.cards.{key}: " in result.stderr
    assert reason in result.stderr
    assert "0123456789" not in result.stderr


def test_a_whole_table_is_fine(tmp_path: Path) -> None:
    assert check(tmp_path, f"{KEY}\n{HOOK}").exit_code == 0


async def test_stripe_away_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    settings = StripePayments.Settings.model_validate(
        {
            "api_key": "sk_test_secret",
            "webhook_secret": "whsec_0123456789",
            "base_url": "http://127.0.0.1:9",
        }
    )
    method = StripePayments("cards", settings)
    order = Order(
        "pay_1", "acc_1", "ann@example.com", 20 * 10**9, "usd", "", "http://x/p", "http://x/w"
    )
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(PaymentRefused, match="Stripe cannot be reached now"),
    ):
        await method.start(order)
    assert "order pay_1" in caplog.text
    assert "sk_test_secret" not in caplog.text
    assert "ann@example.com" not in caplog.text
    assert json.dumps(str(settings)).count("sk_test_secret") == 0
