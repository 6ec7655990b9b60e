"""What Poseidon refuses is bounded in memory, and told to its terminal also where no row of it was kept."""

from __future__ import annotations

import pytest

from consumers.feed.lines import Unusable
from consumers.poseidon import refusals as module
from consumers.poseidon.refusals import Refusals
from fleetwire.dead_letters import LETTERS_ASIDE, DeadLetterOffice
from fleetwire.topics import Topics
from fleetwire.witness import Witness
from tests.fleetwire.test_dead_letters import SlowBroker

TILL = "taco.west.s0001.r01"


def skip(number: int) -> Unusable:
    """A document that could not be applied."""
    return Unusable(str(number), f"{TILL}.{number}", "1-a", "schema", "no data", b"{}")


def test_letters_and_reasons_are_bounded_while_the_broker_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document has one letter under way however often it comes; beyond the limit a terminal is told, not for asks."""
    monkeypatch.setattr(module, "MAXIMUM_SKIPPED_ROWS", 2)
    broker, witness = SlowBroker(), Witness()
    refusals = Refusals(DeadLetterOffice(broker, Topics("storefleet/test"), "poseidon", witness), {})
    for number in (1, 1, 2, 2, 3):
        refusals.refuse(skip(number))
    assert len(broker.parcels) == 3
    assert refusals.reasons == {TILL: {1: "schema", 2: "schema"}}
    for number in range(4, LETTERS_ASIDE + 10):
        refusals.refuse(skip(number))
    assert len(broker.parcels) == LETTERS_ASIDE + 2
    broker.accept_all()
    assert witness.rejects == {"schema": LETTERS_ASIDE + 9}
    refusals.refuse(skip(1))
    assert len(broker.parcels) == 1
