"""What a payment becomes by its provider's events, in whatever order and however often."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.payment import PaymentEvent, PaymentRefused
from ezkielyna.ledger.payment_events import after
from ezkielyna.storage.payments import Payment

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DOLLAR = 10**9
ORDERED = Payment("pay_1", "ann", "cards", "lab", 10 * DOLLAR, "usd", NOW)


def event(state: str, **changes: object) -> PaymentEvent:
    plain = PaymentEvent("paid", "pay_1", "pi_1", 10 * DOLLAR, "usd", NOW)
    return replace(plain, state=state, **changes)


PAID = event("paid")
REFUNDS = [
    event("refunded", amount=3 * DOLLAR, refund_id="re_1"),
    event("refunded", amount=7 * DOLLAR, refund_id="re_2"),
]

tries = st.builds(
    lambda state, second, reason: event(
        state, at=NOW + timedelta(seconds=second), reason=reason, payment_id=""
    ),
    st.sampled_from(["processing", "failed"]),
    st.integers(0, 3),
    st.sampled_from(["", "declined", "expired"]),
)


@st.composite
def orderings(draw: st.DrawFn) -> tuple[list[PaymentEvent], list[PaymentEvent]]:
    """Draw the same events in two orders, each of them any number of times."""
    events = draw(st.lists(tries, max_size=4))
    events += draw(st.sampled_from([[], [PAID]]))
    events += draw(st.sampled_from([[], REFUNDS[:1], REFUNDS]))
    again = st.lists(st.sampled_from(events), max_size=5) if events else st.just([])
    one, two = events + draw(again), events + draw(again)
    return draw(st.permutations(one)), draw(st.permutations(two))


def told(events: list[PaymentEvent]) -> Payment:
    payment = ORDERED
    for each in events:
        payment = after(payment, each)
    # Once it is paid, nobody asks when it was last tried.
    return replace(payment, tried_at=None) if payment.paid_at else payment


@given(orderings())
def test_neither_order_nor_repetition_matters(
    both: tuple[list[PaymentEvent], list[PaymentEvent]],
) -> None:
    one, two = both
    assert told(one) == told(two)
    assert told(one + two) == told(one)


@given(orderings())
def test_what_is_known_is_kept(both: tuple[list[PaymentEvent], list[PaymentEvent]]) -> None:
    events, _ = both
    payment = told(events)
    paid = PAID in events
    refunded = sum(refund.amount for refund in REFUNDS if refund in events)
    assert (payment.paid_at is not None) is paid
    assert payment.refunded == refunded
    assert payment.owed == (refunded if paid else 0)
    if paid:
        assert payment.state == ("refunded" if refunded == 10 * DOLLAR else "paid")


@pytest.mark.parametrize(
    ("before", "wrong", "reason"),
    [
        ([], event("paid", amount=10 * DOLLAR - 1), "was paid, 10.00 was ordered"),
        ([], event("paid", amount=11 * DOLLAR), "11.00 was paid"),
        ([], event("paid", currency="eur"), "the currency is 'eur'"),
        ([], event("failed", currency="jpy"), "the currency is 'jpy'"),
        ([], event("paid", payment_id=""), "does not name the payment"),
        ([PAID], event("paid", payment_id="pi_2"), "belongs to another payment"),
        ([PAID], event("paid", amount=1), "was paid"),
        ([PAID], event("refunded", amount=11 * DOLLAR, refund_id="re"), "refunds would be more"),
        ([PAID, *REFUNDS], event("refunded", amount=1, refund_id="re"), "refunds would be more"),
        ([PAID, *REFUNDS], event("refunded", amount=1, refund_id="re_1"), "another amount"),
        ([PAID], event("refunded", amount=0, refund_id="re"), "no name or no amount"),
        ([PAID], event("refunded", amount=1), "no name or no amount"),
        ([REFUNDS[0]], event("paid", payment_id="pi_2"), "belongs to another payment"),
    ],
)
def test_what_does_not_belong_is_refused(
    before: list[PaymentEvent], wrong: PaymentEvent, reason: str
) -> None:
    payment = told(before)
    with pytest.raises(PaymentRefused, match=reason):
        after(payment, wrong)


def test_a_decline_can_still_be_paid_and_a_late_decline_changes_nothing() -> None:
    declined = after(ORDERED, event("failed", reason="Your card was declined."))
    assert (declined.state, declined.reason) == ("failed", "Your card was declined.")
    paid = after(declined, PAID)
    assert (paid.state, paid.reason) == ("paid", "")
    assert after(paid, event("failed", at=NOW + timedelta(hours=1), reason="late")) is paid
