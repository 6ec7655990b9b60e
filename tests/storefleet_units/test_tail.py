"""What ``tail`` says of a message: who it is, and of an event or a dead letter what it fails to say."""

from __future__ import annotations

import pytest

from fleetwire.envelope import Envelope
from fleetwire.identity import Key
from fleetwire.mqtt import Message
from storefleet.tail_lines import about
from tests.storefleet_units.test_observer import TILL, TOPICS, message_of, raw

RAW = TOPICS.terminal("transaction", TILL)
CANONICAL = TOPICS.canonical("transaction", TILL)
LETTER = TOPICS.dead_letter("parm", "no_key", TILL.id)
SAYS = [("stage", "parm"), ("reason", "no_key"), ("detail", "no"), ("original_topic", "a")]
EVENT = Envelope(Key(TILL.id, 7), "transaction.retail", "2025-03-01T10:00:00.000Z", 2)
WHOLE = f"id={TILL.id}.7 type=storefleet.transaction.retail.v1 attempt=2"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (message_of(RAW, b"{}", EVENT.properties()), WHOLE),
        (message_of(RAW, EVENT.structured(b"{}")), WHOLE),
        (
            message_of(RAW, b"hello"),
            "no event: user property 'source' is missing (so are sequence, specversion, id, ty",
        ),
        (
            message_of(RAW, b"\xff{"),
            "no event: user property 'source' is missing (so are sequence, specversion, id, ty",
        ),
        (message_of(RAW, b"", EVENT.properties()[:5]), "no event: user property 'sequence' is missing: add mosquitto"),
        (message_of(RAW, b'{"source":"x"}'), "no event: member 'sequence' is missing (so are specversion, id, type): "),
        (message_of(RAW, b'{"source":"' + b"[" * 100_000), "no event: user property 'source' is missing"),
        (message_of(CANONICAL, b"{}", EVENT.properties()), WHOLE),
        (message_of(CANONICAL, b"{}"), "user property 'id' is missing"),
        (message_of(CANONICAL, b"{}", [("id", "")]), "user property 'id' is missing"),
        (message_of(LETTER, b"{}", SAYS), "no"),
        (message_of(LETTER, b"{}", [*SAYS, ("key", f"{TILL.id}.7")]), f"key={TILL.id}.7 no"),
        (
            message_of(LETTER, b"{}"),
            "user property 'detail' is missing (so are stage, reason, original_topic): sent by hand, or by",
        ),
        (message_of(TOPICS.terminal("state", TILL), b"{}"), ""),
    ],
)
def test_what_is_said_of_a_message(message: Message, said: str) -> None:
    """In either mode of the envelope; what stands in a topic is not said again."""
    found = about(message, TOPICS)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_tills_own_message() -> None:
    """It is known by its key."""
    assert about(raw(3), TOPICS).startswith(f"id={TILL.id}.3 type=")
