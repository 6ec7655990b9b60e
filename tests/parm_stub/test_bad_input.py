"""Hostile input: every kind the design names has its reason, and nothing but BadPayload ever leaves the transformer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.business_day import Business, Draft, Till
from emulator.dialects import encode
from emulator.fleet import Fleet, TerminalPlan
from emulator.malformed import MALFORMED, Case, Message, applicable
from emulator.misbehaviour import NONE, conflicting, misbehaviour_of
from fleetwire.content import content_hash
from fleetwire.envelope import JSON, STRUCTURED, Envelope
from fleetwire.errors import BadPayload, SettingsError
from fleetwire.events import CanonicalEvent
from fleetwire.identity import Key, Terminal
from fleetwire.reasons import REASONS
from fleetwire.topics import Topics
from parm_stub.decoder import Mapping
from parm_stub.transform import Transformer

LIMIT_BYTES = 60_000
FLEET = Fleet.from_options(stores=12)
TOPICS = Topics("storefleet/test")
TRANSFORMER = Transformer(TOPICS, FLEET.dialects, maximum_bytes=LIMIT_BYTES)
BY_DIALECT = {plan.brand.dialect: plan for plan in reversed(FLEET.terminals()) if plan.position == 0}


def cases(plan: TerminalPlan, count: int = 60) -> list[Case]:
    till = Till(plan, Business(FLEET))
    made = []
    for sequence in range(1, count + 1):
        draft = till.next_event()
        envelope = Envelope(Key(plan.id, sequence), draft.type, draft.time)
        topic = TOPICS.terminal("transaction", plan.terminal)
        message = Message(topic, envelope.properties(), encode(plan, sequence, draft))
        made.append(Case(plan, sequence, draft, message, LIMIT_BYTES))
    return made


CASES = {dialect: cases(plan) for dialect, plan in BY_DIALECT.items()}


def sale_of(dialect: str) -> Case:
    return next(case for case in CASES[dialect] if case.draft.type == "transaction.retail")


def reason_of(message: Message, content_type: str | None = JSON) -> str:
    with pytest.raises(BadPayload) as caught:
        TRANSFORMER.transform(*message, content_type)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("dialect", BY_DIALECT)
@pytest.mark.parametrize("kind", MALFORMED)
def test_every_malformed_kind_yields_its_reason(kind: str, dialect: str) -> None:
    """Each way to damage an event is rejected for its own reason, in every dialect and event type."""
    damaged = [case for case in CASES[dialect] if kind in applicable(case.draft.type)]
    assert damaged
    for case in damaged:
        TRANSFORMER.transform(*case.message, JSON)
        assert reason_of(MALFORMED[kind].damage(case)) == MALFORMED[kind].reason
    assert MALFORMED[kind].reason in REASONS


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_damaged_message_keeps_its_key(kind: str) -> None:
    """The last topic level and the sequence property still name the event."""
    case = sale_of("burger")
    message = MALFORMED[kind].damage(case)
    assert TOPICS.source_of(message.topic) == case.plan.id
    assert dict(message.properties)["sequence"] == str(case.sequence)


def test_another_content_for_the_same_key_is_sound() -> None:
    """A conflicting event passes PARM: only the store behind it can know that the key is taken."""
    for case in CASES["taco"]:
        other = conflicting(case.draft)
        payload = encode(case.plan, case.sequence, other)
        event = TRANSFORMER.transform(case.message.topic, case.message.properties, payload, JSON)
        assert event.key == f"{case.plan.id}.{case.sequence}"
        assert content_hash(*other) != content_hash(*case.draft)


def test_misbehaviour_follows_its_shares() -> None:
    """About the given share of events is damaged, repeated and contradicted, the same ones every time."""
    fleet = Fleet.from_options(malformed=0.2, repeated=0.1, conflicting=0.1)
    plan = fleet.terminals()[0]
    chosen = [misbehaviour_of(fleet, plan, number, "transaction.retail") for number in range(1, 5001)]
    assert chosen == [misbehaviour_of(fleet, plan, number, "transaction.retail") for number in range(1, 5001)]
    assert 850 < sum(bool(one.malformation) for one in chosen) < 1150
    assert 300 < sum(one.again == "conflict" for one in chosen) < 500
    assert 280 < sum(one.again == "repeat" for one in chosen) < 440
    assert misbehaviour_of(Fleet.from_options(), plan, 1, "transaction.retail") == NONE


DEEP = b"[" * 20_000
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "malformed_json"),
    "nested": (DEEP, "malformed_json"),
    "nested and closed": (DEEP + b"]" * 20_000, "malformed_json"),
    "nested in an object": (b'{"k":' + DEEP, "malformed_json"),
    "infinite": (b'{"k":1e999}', "malformed_json"),
    "not a number": (b'{"k":NaN}', "malformed_json"),
    "4,000 digits": (b'{"k":1' + b"0" * 4000 + b"}", "schema"),
    "5,000 digits": (b'{"k":1' + b"0" * 5000 + b"}", "malformed_json"),
    "lone surrogate": (rb'{"k":"\ud800"}', "malformed_json"),
    "name twice": (b'{"k":1,"k":1}', "malformed_json"),
    "array": (b"[]", "schema"),
    "null": (b"null", "schema"),
    "text": (b'"k"', "schema"),
    "number": (b"1", "schema"),
    "byte order mark": (b"\xef\xbb\xbf{}", "malformed_json"),
    "overlong": (b'{"\xc0\x80":1}', "not_utf8"),
    "two documents": (b"{}{}", "malformed_json"),
}


@pytest.mark.parametrize(("payload", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("dialect", BY_DIALECT)
def test_hostile_documents(dialect: str, payload: bytes, reason: str) -> None:
    """No document breaks the transformer; each is rejected for its reason."""
    assert reason_of(sale_of(dialect).message._replace(payload=payload)) == reason


@pytest.mark.parametrize(("payload", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_structured_data(payload: bytes, reason: str) -> None:
    """The same documents inside of a structured CloudEvent are rejected, too."""
    case = sale_of("taco")
    envelope = Envelope(Key(case.plan.id, case.sequence), case.draft.type, case.draft.time)
    message = case.message._replace(payload=envelope.structured(payload), properties=[])
    assert reason_of(message, STRUCTURED) in {reason, "malformed_json"}


def changed(dialect: str, path: list[Any], value: object) -> Message:
    """A sale with one value replaced."""
    message = sale_of(dialect).message
    document = json.loads(message.payload)
    node = document
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return message._replace(payload=json.dumps(document).encode())


WRONG_VALUES: dict[str, tuple[str, list[Any], object, str]] = {
    "true is no number": ("pizza", ["b", "x"], True, "schema"),
    "1.0 is no integer": ("pizza", ["n"], 1.0, "schema"),
    "a code beyond its list": ("pizza", ["b", "m"], 3, "schema"),
    "a negative code": ("pizza", ["b", "m"], -1, "schema"),
    "a time before 1970": ("pizza", ["w"], -1, "schema"),
    "a time far away": ("pizza", ["w"], 10**30, "schema"),
    "no such day": ("pizza", ["d"], 20260230, "schema"),
    "a business day far from the time": ("pizza", ["d"], 20250105, "schema"),
    "an unknown kind": ("pizza", ["k"], 99, "unknown_type"),
    "another kind than the envelope's": ("pizza", ["k"], 2, "schema"),
    "another number": ("pizza", ["n"], 999, "topic_mismatch"),
    "another time than the envelope's": ("pizza", ["w"], 1767600000000, "topic_mismatch"),
    "a short line": ("pizza", ["b", "l", 0], [1], "schema"),
    "no lines": ("pizza", ["b", "l"], [], "schema"),
    "a card number": ("pizza", ["b", "p", 0, 3], 4111111111111111, "schema"),
    "one place": ("taco", ["order", "totals", "total"], "10.4", "schema"),
    "a plus sign": ("taco", ["order", "totals", "total"], "+10.45", "schema"),
    "other digits": ("taco", ["order", "totals", "total"], "\u0661\u0660.\u0664\u0665", "schema"),
    "another total": ("taco", ["order", "totals", "total"], "0.01", "totals"),
    "an unknown word": ("taco", ["order", "channel"], "teleport", "schema"),
    "an offset of a day": ("taco", ["occurredAt"], "2026-01-05T10:16:09.899+23:00", "schema"),
    "month 13": ("taco", ["occurredAt"], "2026-13-05T10:16:09.899+00:00", "schema"),
    "the year one": ("taco", ["occurredAt"], "0001-01-01T00:00:00.000+14:00", "schema"),
    "a sale that refunds": ("taco", ["order", "refundOf"], "taco.north.s0001.r01.1", "schema"),
    "another store": ("burger", ["RetailStoreID"], "s0099", "topic_mismatch"),
    "another terminal": ("burger", ["WorkstationID"], "r99", "topic_mismatch"),
    "a quantity beyond its range": ("burger", ["RetailTransaction", "LineItem", 0, "Quantity"], 5000, "schema"),
    "a price beyond its range": (
        "burger",
        ["RetailTransaction", "LineItem", 0, "RegularSalesUnitPrice"],
        10**400,
        "schema",
    ),
    "a line that does not add up": ("burger", ["RetailTransaction", "LineItem", 0, "ExtendedAmount"], 1, "totals"),
    "a description too long": ("burger", ["RetailTransaction", "LineItem", 0, "Description"], "x" * 300, "schema"),
    "a link to the future": (
        "burger",
        ["RetailTransaction", "TransactionLink"],
        {"SequenceNumber": 10**9},
        "schema",
    ),
    "an end before its begin": (
        "burger",
        ["RetailTransaction", "BeginDateTime"],
        "2027-01-05T10:16:09.899Z",
        "schema",
    ),
}


@pytest.mark.parametrize(("dialect", "path", "value", "reason"), WRONG_VALUES.values(), ids=WRONG_VALUES.keys())
def test_wrong_values(dialect: str, path: list[Any], value: object, reason: str) -> None:
    """One wrong value in an otherwise sound sale is rejected for its reason."""
    assert reason_of(changed(dialect, path, value)) == reason


@pytest.mark.parametrize("name", ["source", "sequence", "type", "time"])
@pytest.mark.parametrize("value", ["", "nonsense", "1e3", "\u0663", "0", "-1", "9" * 40, "taco.north.s0001"])
def test_wrong_properties(name: str, value: str) -> None:
    """User properties that are no key, no type or another time never get through (an empty time says nothing)."""
    message = sale_of("taco").message
    properties = [(key, value if key == name else old) for key, old in message.properties]
    if (name, value) == ("time", ""):
        TRANSFORMER.transform(message.topic, properties, message.payload, JSON)
        return
    expected = {"source": "no_key", "sequence": "no_key", "type": "unknown_type", "time": "topic_mismatch"}
    assert reason_of(message._replace(properties=properties)) == expected[name]


def test_a_brand_that_the_fleet_does_not_have() -> None:
    """A topic that agrees with itself, but of a brand that is none of this fleet, is rejected as such."""
    topic = TOPICS.terminal("transaction", Terminal("nacho", "west", "s0001", "r01"))
    assert reason_of(sale_of("taco").message._replace(topic=topic)) == "unknown_brand"


def test_another_region_in_the_topic() -> None:
    """A topic whose levels contradict its own terminal id is rejected as such."""
    message = sale_of("taco").message
    assert reason_of(message._replace(topic=message.topic.replace("/north/", "/west/"))) == "topic_mismatch"


def test_another_terminals_source() -> None:
    """A source that is somebody else contradicts the topic."""
    message = sale_of("taco").message
    properties = [(key, "taco.north.s0099.r01" if key == "source" else old) for key, old in message.properties]
    assert reason_of(message._replace(properties=properties)) == "topic_mismatch"


@pytest.mark.parametrize("topic", ["", "x", "storefleet/test/terminal/transaction", "storefleet/test/a/b/taco/c/d/e"])
def test_foreign_topics(topic: str) -> None:
    """A topic outside of the tree gives no key."""
    assert reason_of(sale_of("taco").message._replace(topic=topic)) == "no_key"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def only_bad_payload(message: Message, content_type: str | None) -> None:
    try:
        outcome: CanonicalEvent | str = TRANSFORMER.transform(*message, content_type)
    except BadPayload as error:
        outcome = error.reason
    assert isinstance(outcome, CanonicalEvent) or outcome in REASONS


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 59), st.data())
def test_one_replaced_value_is_survived(dialect: str, number: int, data: st.DataObject) -> None:
    """Any JSON value in place of any other of a sound payload gives an event or BadPayload, never another exception."""
    message = CASES[dialect][number].message
    document = json.loads(message.payload)
    node, step = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(node[step], (dict, list)) and node[step] and data.draw(st.booleans()):
        node = node[step]
        step = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(range(len(node)))))
    node[step] = data.draw(json_values)
    only_bad_payload(message._replace(payload=json.dumps(document).encode("utf-8", "replace")), JSON)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(CASES)),
    st.binary(max_size=30),
    st.integers(0, 2000),
    st.integers(0, 30),
    st.sampled_from([None, JSON, STRUCTURED]),
)
def test_any_bytes_are_survived(dialect: str, noise: bytes, at: int, cut: int, content_type: str | None) -> None:
    """Noise in place of any part of a payload gives an event or BadPayload, in every mode."""
    message = sale_of(dialect).message
    payload = message.payload[:at] + noise + message.payload[at + cut :]
    only_bad_payload(message._replace(payload=payload), content_type)
    only_bad_payload(message._replace(payload=noise), content_type)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.lists(st.tuples(st.sampled_from(["source", "sequence", "type", "time"]), st.text())))
def test_any_topic_and_properties_are_survived(topic: str, properties: list[tuple[str, str]]) -> None:
    """Any text as topic or user property is BadPayload, nothing else."""
    message = sale_of("pizza").message
    only_bad_payload(message._replace(topic=topic), JSON)
    only_bad_payload(message._replace(properties=properties), JSON)


def test_white_space_and_order_do_not_matter() -> None:
    """A payload written by another JSON library is the same event; unknown fields are a vendor's own business."""
    case = sale_of("taco")
    document = json.loads(case.message.payload) | {"vendorExtension": {"x": 1}}
    pretty = json.dumps(dict(reversed(document.items())), indent=2).encode()
    event = TRANSFORMER.transform(case.message.topic, case.message.properties, pretty, JSON)
    assert content_hash(event.type, event.time, event.business_day_date, msgspec.json.decode(event.data)) == (
        content_hash(*case.draft)
    )


def test_a_brand_without_a_mapping() -> None:
    """A dialect that no mapping describes is a settings error at start."""
    with pytest.raises(SettingsError, match="klingon"):
        Transformer(TOPICS, {"taco": "klingon"})


def test_a_mapping_that_cannot_be_compiled() -> None:
    """A broken mapping table is a settings error at start, with its name."""
    with pytest.raises(SettingsError, match="mapping broken"):
        Mapping("broken", {"envelope": {}, "kinds": {}, "data": {}})


def test_a_draft_is_not_changed_by_damage() -> None:
    """Damaging a message leaves the sound one as it was, so that the ledger can hold what it should have been."""
    case = sale_of("pizza")
    before = (case.message.payload, list(case.message.properties), Draft(*case.draft))
    for row in MALFORMED.values():
        row.damage(case)
    assert before == (case.message.payload, case.message.properties, case.draft)
