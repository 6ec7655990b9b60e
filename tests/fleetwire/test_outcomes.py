"""Outcomes: cumulative, told after a linger that follows the backlog, bounded, and never trusting what comes in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import BadPayload
from fleetwire.intervals import IntervalSet
from fleetwire.outcomes import (
    LINGER_MAXIMUM_MS,
    MAXIMUM_RANGES,
    Ask,
    Outcome,
    OutcomeBatch,
    Rejection,
    encode,
    read_ask,
    read_outcome,
)
from tests.fleetwire.reading import read_or_refusal

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"
DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(("backlog", "linger_s"), [(0, 0.0), (1, 0.001), (250, 0.25), (1_000, 1.0), (1_000_000, 1.0)])
def test_the_linger_follows_the_backlog(backlog: int, linger_s: float) -> None:
    """Without a backlog nobody waits; with one a source waits a millisecond for each event, at most a second."""
    batch = OutcomeBatch({})
    batch.add(TILL, 100.0, backlog)
    assert batch.due_s == pytest.approx(100.0 + linger_s)
    if backlog:
        assert batch.take_due(100.0 + linger_s - 0.0005) == []
    assert batch.take_due(100.0 + linger_s + 1e-9) == [TILL]
    assert LINGER_MAXIMUM_MS == 1_000


def test_the_first_sets_the_time() -> None:
    """Whatever comes while a batch lingers goes with it: nobody waits longer than the first one's linger."""
    batch = OutcomeBatch({})
    batch.add(TILL, 10.0, 500)
    batch.add(OTHER, 10.4, 900)
    batch.add(TILL, 10.4, 900)
    assert batch.due_s == pytest.approx(10.5)
    assert batch.take_due(10.5) == [TILL, OTHER]


def test_what_was_told_leaves_the_batch() -> None:
    """An empty batch is never due, before the first event and after everything was told."""
    batch = OutcomeBatch({})
    assert batch.due_s is None
    assert batch.take_due(float("inf")) == []
    batch.add(TILL, 1.0, 0)
    assert batch.take_due(1.0) == [TILL]
    assert batch.due_s is None
    assert batch.take_due(float("inf")) == []


def test_an_outcome_is_cumulative() -> None:
    """A later outcome says all that an earlier one said, so that it heals its loss; an unknown source has nothing."""
    applied = {TILL: IntervalSet([(1, 3)])}
    batch = OutcomeBatch(applied)
    assert batch.outcome(TILL, "poseidon") == Outcome(by="poseidon", applied=[(1, 3)])
    applied[TILL].add_range(5, 9)
    assert batch.outcome(TILL, "poseidon", answer=True) == Outcome(by="poseidon", applied=[(1, 3), (5, 9)], answer=True)
    assert batch.outcome(OTHER, "poseidon") == Outcome(by="poseidon")


def test_an_outcome_is_bounded() -> None:
    """Of more ranges than fit an outcome has the newest, for those a terminal may still wait for."""
    ranges = [(2 * number, 2 * number) for number in range(1, MAXIMUM_RANGES + 11)]
    found = OutcomeBatch({TILL: IntervalSet(ranges)}).outcome(TILL, "poseidon")
    assert found.applied == ranges[10:]


def test_the_wire_form_comes_back() -> None:
    """Outcomes and asks come back from their bytes as they went in."""
    outcome = Outcome(by="parm", applied=[(1, 2)], rejected=[Rejection(3, "parm", "schema")], answer=True)
    assert read_outcome(encode(outcome)) == outcome
    ask = Ask(unresolved=[(1, 1), (3, 2**53 - 1)])
    assert read_ask(encode(ask)) == ask


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed_json"),
        (b"\xff", "malformed_json"),
        (b'{"unresolved":[[1,2]', "malformed_json"),
        (DEEP, "malformed_json"),
        (b"[]", "schema"),
        (b"{}", "schema"),
        (b'{"unresolved":null}', "schema"),
        (b'{"unresolved":[[1]]}', "schema"),
        (b'{"unresolved":[[1,2,3]]}', "schema"),
        (b'{"unresolved":[[1,2.5]]}', "schema"),
        (b'{"unresolved":[["1",2]]}', "schema"),
        (b'{"unresolved":[[0,2]]}', "schema"),
        (b'{"unresolved":[[-5,2]]}', "schema"),
        (b'{"unresolved":[[3,2]]}', "schema"),
        (encode(Ask(unresolved=[(1, 1)] * (MAXIMUM_RANGES + 1))), "schema"),
    ],
    ids=range(15),
)
def test_hostile_asks(payload: bytes, reason: str) -> None:
    """What is no ask is refused with its reason: no JSON, wrong types, wrong ranges, too many, nested without end."""
    with pytest.raises(BadPayload) as caught:
        read_ask(payload)
    assert caught.value.reason == reason


def test_the_largest_ask_is_read() -> None:
    """An ask of exactly as many ranges as are allowed is one."""
    assert len(read_ask(encode(Ask(unresolved=[(1, 1)] * MAXIMUM_RANGES))).unresolved) == MAXIMUM_RANGES


@pytest.mark.parametrize("payload", [b"{", b"{}", b'{"by":1}', b'{"by":"x","applied":[1]}', DEEP], ids=range(5))
def test_hostile_outcomes(payload: bytes) -> None:
    """What is no outcome is refused."""
    with pytest.raises(BadPayload):
        read_outcome(payload)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(
    st.binary(max_size=100)
    | st.dictionaries(
        st.sampled_from(["unresolved", "by", "applied", "rejected", "answer"]),
        JSON_VALUES | st.lists(st.lists(st.integers(), min_size=2, max_size=2), max_size=3),
    ).map(msgspec.json.encode)
)
def test_any_bytes(payload: bytes) -> None:
    """No bytes raise anything but BadPayload, and an ask that is read makes a set of positive numbers."""
    for read in (read_ask, read_outcome):
        found = read_or_refusal(read, payload)
        if isinstance(found, BadPayload):
            assert found.reason in {"schema", "malformed_json"}
        elif isinstance(found, Ask):
            assert all(first >= 1 for first, _ in IntervalSet(found.unresolved))
