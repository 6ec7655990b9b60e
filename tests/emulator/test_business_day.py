"""A till's working day: it follows its table, adds up, remembers itself, and is the same for the same seed."""

from __future__ import annotations

import sys
from collections import Counter
from hashlib import blake2b
from itertools import pairwise

import pytest

from emulator.books import FLOAT_CENTS
from emulator.business_day import DAY, TRADES, Business, Draft, Till
from emulator.fleet import Fleet, TerminalPlan
from emulator.menu import menu
from fleetwire.content import content_hash
from fleetwire.events import (
    ControlTransaction,
    RetailTransaction,
    TenderControlTransaction,
    TerminalAlert,
    VoidTransaction,
)
from fleetwire.identity import Key

FLEET = Fleet.from_options(stores=3, terminals_per_store=4, events_per_day=40)
PLANS = FLEET.terminals()
EVENTS = 400


def drafts(plan: TerminalPlan, count: int = EVENTS, fleet: Fleet = FLEET) -> list[Draft]:
    till = Till(plan, Business(fleet))
    return [till.next_event() for _ in range(count)]


def step(draft: Draft) -> str:
    """The word of the table for an event."""
    match draft.data:
        case RetailTransaction():
            return "sale" if draft.data.transaction_type == "SALE" else "returned"
        case VoidTransaction():
            return "void"
        case ControlTransaction() | TenderControlTransaction():
            word = draft.data.control_type
            return word.lower() if word in {"PICKUP", "PAID_IN", "PAID_OUT"} else word
        case TerminalAlert():
            return "alert"
    raise AssertionError(draft)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.id)
def test_the_day_follows_its_table(plan: TerminalPlan) -> None:
    """Every event is what the table allows in the phase that the event before it led to."""
    till = Till(plan, Business(FLEET))
    table = DAY[till.role]
    phase = "closed"
    days = 0
    for _ in range(EVENTS):
        word = step(till.next_event())
        if phase == "trading" and word not in TRADES[till.role]:
            phase = "closing"
        action, following = table[phase]
        assert word in TRADES[till.role] if action == "trade" else word == action
        phase = following
        days += phase == "closed"
    assert days >= 2


def test_every_kind_of_event_happens() -> None:
    """A selling terminal shows all that its role can do; a kitchen display sells nothing."""
    words = Counter(step(draft) for draft in drafts(PLANS[0], 3000))
    frame = {"START_OF_DAY", "SIGN_ON", "LOAN", "SIGN_OFF", "TILL_SETTLE", "END_OF_DAY"}
    assert set(words) == frame | set(TRADES["opener"])
    kitchen = next(plan for plan in PLANS if plan.kind == "kitchen_display")
    assert {step(draft) for draft in drafts(kitchen)} == {"SIGN_ON", "alert", "SIGN_OFF"}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.id)
def test_totals_add_up(plan: TerminalPlan) -> None:
    """Lines, taxes, tenders and totals agree in every receipt, and no card number is whole."""
    for draft in drafts(plan):
        if isinstance(draft.data, RetailTransaction):
            data = draft.data
            assert sum(line.extended_cents for line in data.line_items) == data.net_cents
            assert sum(line.tax_cents for line in data.line_items) == data.tax_cents
            assert sum(tender.amount_cents for tender in data.tenders) == data.grand_cents
            assert data.net_cents + data.tax_cents == data.grand_cents
            assert (data.grand_cents > 0) == (data.transaction_type == "SALE")
            assert data.begin_time <= data.end_time == draft.time
            assert all(t.masked_pan in {"", "*" * 12 + t.masked_pan[-4:]} for t in data.tenders)


def test_the_drawer_adds_up() -> None:
    """At the day's end the drawer holds the float, what cash came in, and less what went out."""
    drawer = 0
    for draft in drafts(PLANS[0], 2000):
        data = draft.data
        if isinstance(data, RetailTransaction):
            drawer += sum(tender.amount_cents for tender in data.tenders if tender.tender_type == "CASH")
        elif isinstance(data, VoidTransaction):
            sale = drafts(PLANS[0], Key.parse(data.voided_key).sequence)[-1].data
            assert isinstance(sale, RetailTransaction)
            assert sale.grand_cents == -data.grand_cents
            drawer -= sum(tender.amount_cents for tender in sale.tenders if tender.tender_type == "CASH")
        elif isinstance(data, TenderControlTransaction):
            sign = {"LOAN": 1, "PAID_IN": 1, "PAID_OUT": -1, "PICKUP": -1, "TILL_SETTLE": 0}[data.control_type]
            drawer += sign * data.amount_cents
            assert data.expected_cents == drawer
            drawer = 0 if data.control_type == "TILL_SETTLE" else drawer
            assert data.control_type != "LOAN" or data.amount_cents == FLOAT_CENTS


def test_what_is_taken_back_was_sold() -> None:
    """A return or void names an earlier sale of the same terminal and day, each sale at most once."""
    sales: dict[str, tuple[str, RetailTransaction]] = {}
    taken: list[str] = []
    for sequence, draft in enumerate(drafts(PLANS[0], 3000), start=1):
        if step(draft) == "sale":
            sales[str(Key(PLANS[0].id, sequence))] = (draft.business_day_date, draft.data)
        elif isinstance(draft.data, RetailTransaction):
            taken.append(draft.data.original_key)
            sold = {(-line.quantity, line.gtin, -line.extended_cents) for line in draft.data.line_items}
            assert sold <= {(line.quantity, line.gtin, line.extended_cents) for line in sales[taken[-1]][1].line_items}
        elif isinstance(draft.data, VoidTransaction):
            taken.append(draft.data.voided_key)
        else:
            continue
        assert not taken or step(draft) == "sale" or sales[taken[-1]][0] == draft.business_day_date
    assert len(taken) == len(set(taken)) > 50


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.id)
def test_time_runs_forward(plan: TerminalPlan) -> None:
    """Times grow strictly, business days never go back, and a day's trade lies within opening hours."""
    made = drafts(plan)
    assert all(before.time < after.time for before, after in pairwise(made))
    assert all(before.business_day_date <= after.business_day_date for before, after in pairwise(made))


def test_the_business_day_is_the_stores_own() -> None:
    """In the evening of a western store UTC is a day ahead, its business day is not."""
    west = next(plan for plan in Fleet.from_options().terminals() if plan.region.name == "west")
    assert any(draft.time[:10] > draft.business_day_date for draft in drafts(west, 60))


def test_a_restored_till_goes_on() -> None:
    """A till that was saved and restored after any event continues as if it had not died."""
    business = Business(FLEET)
    expected = drafts(PLANS[0], 120)
    till = Till(PLANS[0], business)
    for sequence, draft in enumerate(expected, start=1):
        assert till.next_event() == draft
        assert till.sequence == sequence
        till = Till.restore(PLANS[0], business, till.save())


def test_a_till_is_small() -> None:
    """Ten thousand tills fit: one takes less than 600 bytes beside what they share."""
    till = Till(PLANS[0], Business(FLEET))
    for _ in range(200):
        till.next_event()
    books = till._books
    parts = [till, books, books._recent, books._components, till._clock_ms, books._drawer_cents, *books._recent]
    assert sum(sys.getsizeof(part) for part in parts) < 600


def test_a_fleet_without_business_only_opens_and_closes() -> None:
    """With every weight at zero a day has its opening and closing steps and nothing else."""
    nothing = dict.fromkeys(("sale", "returned", "void", "no_sale", "pickup", "paid_in", "paid_out", "alert"), 0)
    fleet = Fleet.from_options(mix=nothing)
    words = [step(draft) for draft in drafts(fleet.terminals()[0], 12, fleet)]
    assert words == ["START_OF_DAY", "SIGN_ON", "LOAN", "SIGN_OFF", "TILL_SETTLE", "END_OF_DAY"] * 2


def digest(fleet: Fleet, events: int) -> str:
    """One digest over every event of every terminal, in order."""
    total = blake2b(digest_size=16)
    business = Business(fleet)
    for plan in fleet.terminals():
        till = Till(plan, business)
        for _ in range(events):
            total.update(content_hash(*till.next_event()))
    return total.hexdigest()


def test_the_same_seed_gives_the_same_business() -> None:
    """1,000 terminals with 60 events each are identical when they are made twice."""
    fleet = Fleet.from_options(stores=250, terminals_per_store=4, seed=11)
    assert digest(fleet, 60) == digest(fleet, 60)


def test_recorded_digest() -> None:
    """Twelve terminals with 200 events each are what they were when this test was written, on every Python version."""
    assert digest(FLEET, 200) == RECORDED_DIGEST
    assert digest(Fleet.from_options(stores=3, terminals_per_store=4, seed=2), 200) != RECORDED_DIGEST


RECORDED_DIGEST = "310dae68d0d6b2b0f1c5cea97471f29b"


@pytest.mark.parametrize("name", ["taco", "burger", "pizza"])
def test_a_menu_is_sound(name: str) -> None:
    """Thirty items with their own names and GTINs whose check digit is right."""
    items = menu(name)
    assert len(items) == len({item.description for item in items}) == len({item.gtin for item in items}) == 30
    for item in items:
        weights = (1, 3) * 7
        assert sum(int(digit) * weight for digit, weight in zip(item.gtin[::-1], weights, strict=False)) % 10 == 0
