"""Envelopes: both CloudEvents modes carry the same attributes, and no bytes raise anything but BadPayload."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.envelope import (
    MAXIMUM_ATTEMPT,
    TYPE_PREFIX,
    TYPE_SUFFIX,
    Envelope,
    read_binary,
    read_structured,
    trace_parent,
)
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES
from fleetwire.identity import MAXIMUM_SEQUENCE, Key
from fleetwire.reasons import REASONS
from tests.fleetwire.reading import read_or_refusal

KEY = Key("taco.west.s0042.r01", 317)
TIME = "2026-11-22T10:00:00.000Z"
PLAIN = Envelope(KEY, "transaction.retail", TIME)
ENVELOPES = st.builds(
    Envelope,
    st.builds(Key, st.just(KEY.source), st.integers(1, MAXIMUM_SEQUENCE)),
    st.sampled_from([*EVENT_TYPES]),
    st.just(TIME),
    st.integers(1, MAXIMUM_ATTEMPT),
)
NAMES = st.sampled_from(["source", "sequence", "type", "time", "attempt", "id", "specversion", "x"])
VALUES = st.text(max_size=50) | st.sampled_from(
    [
        KEY.source,
        "1",
        "0",
        "-1",
        "²",
        "9" * 5_000,
        f"{TYPE_PREFIX}transaction.retail{TYPE_SUFFIX}",
        TYPE_PREFIX,
        TYPE_SUFFIX,
    ]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(ENVELOPES)
def test_binary_mode_comes_back(envelope: Envelope) -> None:
    """Reading the user properties of an envelope gives it back, whatever order they come in."""
    assert read_binary(envelope.properties()) == envelope
    assert read_binary([("other", "x"), *reversed(envelope.properties())]) == envelope


@given(ENVELOPES, st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3))
def test_structured_mode_comes_back(envelope: Envelope, data: dict[str, object]) -> None:
    """Reading a structured payload gives the envelope and the very bytes of its data."""
    body = json.dumps(data).encode()
    assert read_structured(envelope.structured(body)) == (envelope, body)


def test_the_attributes() -> None:
    """An envelope says exactly the attributes of the contract, under CloudEvents' own names, and its key is its id."""
    assert dict(Envelope(KEY, "terminal.alert", TIME, 2).properties()) == {
        "specversion": "1.0",
        "id": "taco.west.s0042.r01.317",
        "source": "taco.west.s0042.r01",
        "type": "storefleet.terminal.alert.v1",
        "time": TIME,
        "sequence": "317",
        "traceparent": trace_parent("taco.west.s0042.r01.317"),
        "attempt": "2",
    }
    document = json.loads(PLAIN.structured(b'{"a":1}'))
    assert document == {**dict(PLAIN.properties()), "datacontenttype": "application/json", "data": {"a": 1}}


def test_an_attempt_may_be_missing() -> None:
    """A peer that does not count its attempts is taken to send for the first time."""
    assert read_binary([pair for pair in PLAIN.properties() if pair[0] != "attempt"]).attempt == 1
    document = {name: value for name, value in json.loads(PLAIN.structured(b"{}")).items() if name != "attempt"}
    assert read_structured(json.dumps(document).encode())[0].attempt == 1


@given(st.text(max_size=50))
def test_a_trace_parent_is_well_formed(text: str) -> None:
    """Every key gets a trace parent by the W3C's grammar, never all zeros, always the same."""
    found = trace_parent(text)
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01", found)
    assert trace_parent(text) == found


def test_a_trace_parent_never_changes() -> None:
    """The recorded trace parent of a key stays, or recorded traces would not be found again."""
    assert trace_parent(str(KEY)) == "00-8af190649dad8965b70492ea28022567-969d308995caaad4-01"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("source", "", "no_key"),
        ("source", "taco.west", "no_key"),
        ("sequence", "", "no_key"),
        ("sequence", "0", "no_key"),
        ("sequence", "1.5", "no_key"),
        ("sequence", "٣", "no_key"),
        ("sequence", str(MAXIMUM_SEQUENCE + 1), "no_key"),
        ("attempt", "0", "schema"),
        ("attempt", str(MAXIMUM_ATTEMPT + 1), "schema"),
        ("type", "", "unknown_type"),
        ("type", "transaction.retail", "unknown_type"),
        ("type", "storefleet.transaction.retail.v2", "unknown_type"),
    ],
)
def test_wrong_attributes(name: str, value: str, reason: str) -> None:
    """Each attribute's wrong value is refused with its reason, in both modes."""
    attributes = {**dict(PLAIN.properties()), name: value}
    with pytest.raises(BadPayload) as binary:
        read_binary(list(attributes.items()))
    with pytest.raises(BadPayload) as structured:
        read_structured(json.dumps({**attributes, "data": {}}).encode())
    assert binary.value.reason == structured.value.reason == reason


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"id":"\xff"}', "malformed_json"),
        (b"[]", "no_key"),
        (b"{}", "no_key"),
        (PLAIN.structured(b"{}").replace(b'"1.0"', b'"0.3"'), "schema"),
        (PLAIN.structured(b"{}").replace(b'"317"', b"317.0"), "schema"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed_json"),
        (PLAIN.structured(b"{}").replace(b"{}", b"[" * 100_000 + b"]" * 100_000), "malformed_json"),
    ],
    ids=range(10),
)
def test_wrong_structured_payloads(payload: bytes, reason: str) -> None:
    """What is no structured CloudEvent is refused with its reason, nesting without end included."""
    with pytest.raises(BadPayload) as caught:
        read_structured(payload)
    assert caught.value.reason == reason


@given(st.lists(st.tuples(NAMES | st.text(max_size=10), VALUES), max_size=10))
def test_hostile_properties(properties: list[tuple[str, str]]) -> None:
    """Any user properties are refused for a reason of the contract, or have a usable key."""
    found = read_or_refusal(read_binary, properties)
    if isinstance(found, BadPayload):
        assert found.reason in REASONS
    else:
        assert Key.parse(str(found.key)) == found.key


@given(st.binary(max_size=200) | st.dictionaries(NAMES, JSON_VALUES, max_size=8).map(msgspec.json.encode))
def test_hostile_payloads(payload: bytes) -> None:
    """Any payload is refused for a reason of the contract, or has a usable key."""
    found = read_or_refusal(read_structured, payload)
    if isinstance(found, BadPayload):
        assert found.reason in REASONS
    else:
        assert Key.parse(str(found[0].key)) == found[0].key
