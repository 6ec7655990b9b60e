"""Every dialect says everything: what a terminal encodes, PARM reads back with exactly the same content hash."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.business_day import Business, Draft, Till
from emulator.dialects import encode
from emulator.fleet import DialectName, Fleet, TerminalPlan
from fleetwire.clock import utc_text
from fleetwire.content import content_hash
from fleetwire.envelope import JSON, STRUCTURED, Envelope
from fleetwire.events import (
    EVENT_TYPES,
    CanonicalEvent,
    ControlTransaction,
    LineItem,
    RetailTransaction,
    Tender,
    TenderControlTransaction,
    TerminalAlert,
    VoidTransaction,
)
from fleetwire.identity import Key
from fleetwire.topics import Topics
from parm_stub.transform import Transformer, canonical_json

FLEET = Fleet.from_options(stores=36, terminals_per_store=4)
PLANS = {dialect: next(p for p in FLEET.terminals() if p.brand.dialect == dialect) for dialect in get_args(DialectName)}
TOPICS = Topics("storefleet/test")
TRANSFORMER = Transformer(TOPICS, FLEET.dialects, maximum_bytes=1_000_000)

cents = st.integers(-1_000_000, 1_000_000)
moments_ms = st.integers(1_577_836_800_000, 1_893_456_000_000)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
long_words = st.text(st.characters(codec="utf-8"), max_size=200)
tender_types = st.sampled_from(["CASH", "CREDIT_DEBIT", "GIFT_CARD", "WALLET"])


@st.composite
def lines(draw: st.DrawFn, number: int) -> LineItem:
    quantity, price, discount = draw(st.integers(-20, 20)), draw(st.integers(0, 9999)), draw(st.integers(-99, 99))
    return LineItem(
        line=number,
        item_id=draw(words),
        gtin=draw(st.from_regex(r"[0-9]{8,14}", fullmatch=True)),
        description=draw(long_words),
        quantity=quantity,
        unit_price_cents=price,
        discount_cents=discount,
        extended_cents=quantity * price - discount,
        tax_cents=draw(st.integers(-999, 999)),
    )


@st.composite
def tenders(draw: st.DrawFn, amount: int) -> Tender:
    entry = draw(st.sampled_from(["NONE", "CHIP", "CONTACTLESS", "SWIPE", "KEYED"]))
    return Tender(draw(tender_types), amount, entry, draw(long_words), draw(long_words))  # type: ignore[arg-type]


@st.composite
def receipts(draw: st.DrawFn, plan: TerminalPlan, ended_ms: int, sequence: int) -> RetailTransaction:
    sold = [draw(lines(number)) for number in range(1, draw(st.integers(1, 6)) + 1)]
    net, tax = sum(line.extended_cents for line in sold), sum(line.tax_cents for line in sold)
    change = draw(cents)
    kind = draw(st.sampled_from(["SALE", "RETURN"]))
    earlier = draw(st.integers(1, sequence - 1))
    return RetailTransaction(
        transaction_type=kind,  # type: ignore[arg-type]
        receipt_number=draw(words),
        operator_id=draw(words),
        till_id=draw(words),
        service_mode=draw(st.sampled_from(["COUNTER", "DRIVE_THROUGH", "KIOSK"])),  # type: ignore[arg-type]
        begin_time=utc_text((ended_ms - draw(st.integers(0, 10**7))) / 1000),
        end_time=utc_text(ended_ms / 1000),
        training_mode=draw(st.booleans()),
        line_items=sold,
        tenders=[draw(tenders(net + tax - change)), draw(tenders(change))],
        net_cents=net,
        tax_cents=tax,
        grand_cents=net + tax,
        original_key=str(Key(plan.id, earlier)) if kind == "RETURN" else "",
    )


def others(plan: TerminalPlan, sequence: int) -> st.SearchStrategy[msgspec.Struct]:
    """Bodies without sums."""
    keys = st.integers(1, sequence - 1).map(lambda number: str(Key(plan.id, number)))
    controls = st.sampled_from(["SIGN_ON", "SIGN_OFF", "NO_SALE", "START_OF_DAY", "END_OF_DAY"])
    moneys = st.sampled_from(["LOAN", "PICKUP", "PAID_IN", "PAID_OUT", "SAFE_DROP", "TILL_SETTLE"])
    components = st.sampled_from(["PRINTER", "CASH_DRAWER", "CARD_READER", "BATTERY", "NETWORK"])
    return st.one_of(
        st.builds(VoidTransaction, keys, words, words, words, cents),
        st.builds(ControlTransaction, controls, words, words, long_words),
        st.builds(TenderControlTransaction, moneys, words, words, tender_types, cents, cents, cents),
        st.builds(TerminalAlert, components, words, words, st.sampled_from(["INFO", "WARNING", "CRITICAL"])),
    )


@st.composite
def drafts(draw: st.DrawFn, plan: TerminalPlan) -> tuple[int, Draft]:
    sequence, ended_ms = draw(st.integers(2, 2**53 - 1)), draw(moments_ms)
    data = draw(receipts(plan, ended_ms, sequence) | others(plan, sequence))
    event_type = next(name for name, shape in EVENT_TYPES.items() if isinstance(data, shape))
    time = utc_text(ended_ms / 1000)
    return sequence, Draft(event_type, time, time[:10], data)


def transformed(plan: TerminalPlan, sequence: int, draft: Draft, *, structured: bool = False) -> CanonicalEvent:
    payload = encode(plan, sequence, draft)
    envelope = Envelope(Key(plan.id, sequence), draft.type, draft.time)
    topic = TOPICS.terminal("transaction", plan.terminal)
    if structured:
        return TRANSFORMER.transform(topic, [], envelope.structured(payload), STRUCTURED)
    return TRANSFORMER.transform(topic, envelope.properties(), payload, JSON)


def hash_of(event: CanonicalEvent) -> bytes:
    data: Any = msgspec.json.decode(event.data)
    return content_hash(event.type, event.time, event.business_day_date, data)


@pytest.mark.parametrize("dialect", get_args(DialectName))
@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_any_event_survives(dialect: DialectName, data: st.DataObject, structured: bool) -> None:
    """Whatever the contract allows is the same event, by value, after encoding and transforming it."""
    plan = PLANS[dialect]
    sequence, draft = data.draw(drafts(plan))
    event = transformed(plan, sequence, draft, structured=structured)
    assert event.key == f"{plan.id}.{sequence}"
    assert (event.source, event.sequence) == (plan.id, sequence)
    assert hash_of(event) == content_hash(*draft)


@pytest.mark.parametrize("dialect", get_args(DialectName))
def test_the_emulators_own_business_survives(dialect: DialectName) -> None:
    """500 events of every kind of terminal come through with their content hash."""
    plans = [plan for plan in FLEET.terminals() if plan.brand.dialect == dialect][:4]
    assert len({plan.kind for plan in plans}) == 4
    for plan in plans:
        till = Till(plan, Business(FLEET))
        for sequence in range(1, 501):
            draft = till.next_event()
            assert hash_of(transformed(plan, sequence, draft)) == content_hash(*draft)


def test_dialects_do_differ() -> None:
    """The three payloads of the same event have no name in common, and none is the canonical form."""
    draft = next(d for d in (Till(PLANS["taco"], Business(FLEET)).next_event(),))
    names = [set(msgspec.json.decode(encode(plan, 1, draft))) for plan in PLANS.values()]
    assert names[0].isdisjoint(names[1] | names[2])
    assert names[1].isdisjoint(names[2])
    assert all(name.isdisjoint(CanonicalEvent.__struct_fields__) for name in names)


def test_canonical_json() -> None:
    """The canonical bytes are the JSON of the event, with its data as an object."""
    plan = PLANS["pizza"]
    event = transformed(plan, 1, Till(plan, Business(FLEET)).next_event())
    read = msgspec.json.decode(canonical_json(event), type=CanonicalEvent)
    assert read == event
    assert msgspec.json.decode(canonical_json(event))["data"]["control_type"] == "START_OF_DAY"
