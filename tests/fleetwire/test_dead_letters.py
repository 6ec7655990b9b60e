"""Letters that nobody waits for: bounded, and counted beyond the bound."""

from __future__ import annotations

from fleetwire.dead_letters import LETTERS_ASIDE, DeadLetter, DeadLetterOffice
from fleetwire.delivery import Delivery, Parcel
from fleetwire.identity import Terminal
from fleetwire.topics import Topics
from fleetwire.witness import Witness

TOPICS = Topics("storefleet/test")
LETTER = DeadLetter(
    reason="schema",
    detail="no state",
    topic=TOPICS.terminal("state", Terminal("taco", "west", "s0001", "r01")),
    payload=b"[",
)


class SlowBroker(Delivery):
    """Keeps every parcel until it is told that they are accepted."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []

    def send(self, parcel: Parcel) -> None:
        """Keep it."""
        self.parcels.append(parcel)

    def accept_all(self) -> None:
        """The PUBACKs are here."""
        while self.parcels:
            self.parcels.pop().done()


def test_letters_aside_are_bounded() -> None:
    """While the broker takes none, no more than the limit are on their way; each message counts as one reject."""
    broker, witness = SlowBroker(), Witness()
    office = DeadLetterOffice(broker, TOPICS, "parm", witness)
    for _ in range(LETTERS_ASIDE + 5):
        office.post_aside(LETTER)
    assert (len(broker.parcels), office.unwritten) == (LETTERS_ASIDE, 5)
    broker.accept_all()
    office.post_aside(LETTER)
    assert len(broker.parcels) == 1
    broker.accept_all()
    assert witness.rejects == {"schema": LETTERS_ASIDE + 6}
    assert witness.counters["dead_letters_unwritten_total"] == 5
