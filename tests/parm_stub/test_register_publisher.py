"""Retained registers on their way out: the newest value wins, and a whole fleet's do not leave at once."""

from __future__ import annotations

import pytest

from parm_stub import register_publisher as module
from parm_stub.register_publisher import RegisterPublisher
from tests.fleetwire.test_dead_letters import SlowBroker


def values(broker: SlowBroker) -> list[tuple[str, bytes]]:
    """What is on its way to the broker."""
    return [(parcel.topic, parcel.payload) for parcel in broker.parcels]


def test_what_waits_behind_a_value_is_the_newest_alone() -> None:
    """Of three values the middle one is never sent."""
    broker = SlowBroker()
    publisher = RegisterPublisher(broker)
    for payload in (b"1", b"2", b"3"):
        publisher.set("a", payload)
    assert values(broker) == [("a", b"1")]
    broker.parcels.pop().done()
    assert values(broker) == [("a", b"3")]
    broker.accept_all()
    assert publisher.published == 2
    publisher.set("a", b"4")
    assert values(broker) == [("a", b"4")]


def test_no_more_than_the_limit_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others follow in their order, each with its newest value, one for each that the broker has accepted."""
    monkeypatch.setattr(module, "UNDER_WAY_LIMIT", 2)
    broker = SlowBroker()
    publisher = RegisterPublisher(broker)
    for topic in "abcd":
        publisher.set(topic, b"1")
    publisher.set("c", b"2")
    publisher.set("a", b"2")
    assert values(broker) == [("a", b"1"), ("b", b"1")]
    broker.parcels.pop(0).done()
    assert values(broker) == [("b", b"1"), ("c", b"2")]
    broker.parcels.pop(0).done()
    assert values(broker) == [("c", b"2"), ("d", b"1")]
    broker.parcels.pop(0).done()
    assert values(broker) == [("d", b"1"), ("a", b"2")]
    broker.accept_all()
    assert publisher.published == 5
