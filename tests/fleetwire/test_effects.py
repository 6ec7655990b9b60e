"""What an event leaves at its till, and the hash of it: every field counts, and rows read back hash as the effect did."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fleetwire.effects import (
    Control,
    Effect,
    Movement,
    Receipt,
    Reference,
    TillEntry,
    effect_hash,
    effect_of,
    till_entry,
)
from fleetwire.events import EVENT_TYPES
from tests.feed.events import DAY, Written, control, event, retail, returned, sale, till, void

SOURCE = "taco.west.s0001.r01"
ALERT = {"component": "PRINTER", "from_state": "OK", "to_state": "PAPER_OUT", "severity": "WARNING"}
NO_CASH = retail("SALE", 500)
NO_CASH["tenders"] = [{**NO_CASH["tenders"][0], "tender_type": "WALLET"}]


def effect(written: Written) -> Effect:
    """What this event leaves."""
    document = written.document
    data = msgspec.convert(document["data"], EVENT_TYPES[document["type"]])
    return effect_of(document["business_day_date"], data)


@pytest.mark.parametrize(
    ("written", "entry", "facts"),
    [
        (sale(SOURCE, 4, 1_000), TillEntry("SALE", 0, 1_000), {Receipt}),
        (sale(SOURCE, 4, 1_000, training=True), TillEntry("SALE", 0, 0), {Receipt}),
        (event(SOURCE, 4, "transaction.retail", NO_CASH), TillEntry("SALE", 0, 0), {Receipt}),
        (returned(SOURCE, 5, 400, f"{SOURCE}.4"), TillEntry("RETURN", 4, -400), {Receipt, Reference}),
        (void(SOURCE, 6, 1_000, f"{SOURCE}.4"), TillEntry("VOID", 4, 0), {Reference}),
        (control(SOURCE, 2, "SIGN_ON", "op-7"), TillEntry("SIGN_ON", 0, 0, "op-7"), {Control}),
        (control(SOURCE, 2, "SIGN_OFF", "op-7"), TillEntry("SIGN_OFF", 0, 0, ""), {Control}),
        (till(SOURCE, 3, "PICKUP", 300), TillEntry("PICKUP", 0, -300), {Movement}),
        (till(SOURCE, 3, "TILL_SETTLE", 300), TillEntry("TILL_SETTLE", 0, 0), {Movement}),
        (event(SOURCE, 7, "terminal.alert", ALERT), TillEntry(), set()),
    ],
)
def test_what_an_event_leaves(written: Written, entry: TillEntry, facts: set[type]) -> None:
    """Its facts, and what the ledger keeps to work out a till without the event's body."""
    found = effect(written)
    assert {type(fact) for fact in found if fact is not None} == facts
    assert till_entry(found) == entry


def test_every_field_counts() -> None:
    """A change of any field of any fact is another hash; the same values as rows of a database are the same."""
    whole = Effect(
        Receipt("SALE", DAY, "r01-1", "2026-01-01T00:00:00.000Z", 0, 100, 8, 108, 108, 1, 108),
        Reference("RETURN", f"{SOURCE}.1", DAY, -108),
        Control("SIGN_ON", "op-1", "till-1", DAY),
        Movement("LOAN", 100, 100),
    )
    plain: list[Any] = [list(fact) for fact in whole if fact is not None]
    assert effect_hash(plain) == effect_hash(whole)
    hashes = {effect_hash(whole)}
    changes = 0
    for place, fact in enumerate(plain):
        hashes.add(effect_hash([*plain[:place], None, *plain[place + 1 :]]))
        for index, value in enumerate(fact):
            other = [*fact[:index], value + 1 if isinstance(value, int) else f"{value}x", *fact[index + 1 :]]
            hashes.add(effect_hash([*plain[:place], other, *plain[place + 1 :]]))
        changes += 1 + len(fact)
    assert len(hashes) == 1 + changes
