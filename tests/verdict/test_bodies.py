"""Altered events by value: which fields differ, and what an event must have said."""

from __future__ import annotations

import pytest

from emulator.business_day import Business, Till
from emulator.fleet import Fleet
from fleetwire.content import content_hash
from fleetwire.identity import Key
from storefleet.verdict.expected_bodies import expected_bodies
from storefleet.verdict.field_differences import LIMIT, field_differences
from storefleet.verdict.history import Ledger

FLEET = {"stores": 2, "seed": 11}


@pytest.mark.parametrize(
    ("expected", "found", "differences"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", "1", "2")]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a[0]", "1", "2"), ("a[1]", "2", "1")]),
        ({"a": [1]}, {"a": [1, 2]}, [("a[1]", "absent", "2")]),
        ({"a": 1}, {"b": 1}, [("a", "1", "absent"), ("b", "absent", "1")]),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({"a": 1}, {"a": "1"}, [("a", "1", '"1"')]),
        ({"a": 1}, [], [("", '{"a":1}', "[]")]),
    ],
)
def test_fields_side_by_side(expected: object, found: object, differences: list[tuple[str, str, str]]) -> None:
    """Each field that differs is named by its path with both values as JSON."""
    assert [(one.path, one.expected, one.found) for one in field_differences(expected, found)] == differences


def test_differences_are_bounded() -> None:
    """However different two bodies are, so many fields and so long a text are shown."""
    many = field_differences({str(n): n for n in range(500)}, {"0": "x" * 5_000})
    assert len(many) == LIMIT
    assert max(len(one.found) for one in many) <= 200


def ledger_of(source_position: int, events: int) -> tuple[str, Ledger]:
    """The ledger of one terminal of the fleet."""
    fleet = Fleet.from_options(**FLEET)
    plan = fleet.terminals()[source_position]
    till = Till(plan, Business(fleet))
    ledger = Ledger()
    for sequence in range(1, events + 1):
        draft = till.next_event()
        digest = content_hash(draft.type, draft.time, draft.business_day_date, draft.data)
        ledger.source(plan.id).append(sequence, digest, 0)
    return plan.id, ledger


def test_bodies_are_made_again_from_fleet_and_seed() -> None:
    """The same plan makes the same event, proven by the ledger's hash."""
    source, ledger = ledger_of(1, 80)
    keys = [Key(source, 3), Key(source, 77)]
    bodies = expected_bodies(FLEET, ledger, keys)
    assert sorted(bodies) == keys
    for key, body in bodies.items():
        digest = content_hash(body["type"], body["time"], body["business_day_date"], body["data"])
        assert digest == ledger.sources[source].hash_of(key.sequence)


def test_what_cannot_be_made_again_is_left_out() -> None:
    """Another seed, a terminal of another fleet, a number too far on, and values that are no fleet give no body."""
    source, ledger = ledger_of(1, 5)
    key = Key(source, 3)
    assert expected_bodies({**FLEET, "seed": 12}, ledger, [key]) == {}
    assert expected_bodies(FLEET, ledger, [Key("taco.moon.s0001.r01", 3), Key(source, 6), Key(source, 10**9)]) == {}
    assert expected_bodies({"stores": "many"}, ledger, [key]) == {}
