"""What a report can possibly say: the doors let in what witnesses write, and nothing that none can have written."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.intervals import IntervalSet
from fleetwire.possible import possible, possible_in_all
from fleetwire.witness import SET_NAMES, Snapshot, Witness

TILL = "taco.west.s0001.r01"
HEAD: dict[str, Any] = {"stage": "parm", "instance": 1, "incarnation": 1, "at_ms": 1_767_600_000_000}


def decoded(**said: Any) -> Snapshot:
    """A report with these words, as it comes over the wire."""
    return msgspec.json.decode(json.dumps({**HEAD, **said}), type=Snapshot)


@given(numbers=st.sets(st.integers(1, 60)), full=st.booleans())
def test_what_a_witness_writes_passes(numbers: set[int], full: bool) -> None:
    """Whatever it has seen, in whatever order."""
    witness = Witness()
    for number in numbers:
        witness.take(TILL, number, attempt=1 + number % 2)
        witness.hand_on(TILL, number)
    witness.reject("schema", TILL, 1)
    witness.register("store_board", TILL, "OPEN")
    witness.begin_trouble("disk_full", "no room")
    told = witness.snapshot("parm", 1, 1, full=full, loop_stall_ms=0.5)
    report = msgspec.json.decode(msgspec.json.encode(told), type=Snapshot)
    assert possible_in_all(report) == possible(report) == told
    assert IntervalSet(report.taken.get(TILL, [])).count == len(numbers)


@pytest.mark.parametrize("name", SET_NAMES)
@pytest.mark.parametrize("intervals", [[[10, 1]], [[0, 1]], [[-1, 1]], [[1, 2**53]], [[1, 2], [9, 8]]])
def test_an_interval_that_cannot_be(name: str, intervals: list[list[int]]) -> None:
    """It is found at every door, in each of the sets."""
    with pytest.raises(msgspec.ValidationError):
        possible(decoded(**{name: {TILL: intervals}}))


@pytest.mark.parametrize(
    "said",
    [
        {"taken": {TILL: [[1, 2], [2, 3]]}},
        {"taken": {TILL: [[5, 6], [1, 2]]}},
        {"taken": {"x" * 257: [[1, 2]]}},
        {"holdings": {"orders": {"sources": {TILL: [[3, 2]]}}}},
        {"holdings": {"orders": {"digests": {TILL: -1}}}},
        {"holdings": {"orders": {"digests": {TILL: 2**64}}}},
        {"holdings": {"orders": {"epoch": -1}}},
        {"stage": ""},
        {"stage": "x" * 257},
        {"instance": 0},
        {"instance": 2**40},
        {"incarnation": -1},
        {"at_ms": 0},
        {"at_ms": -5},
        {"at_ms": 2**53},
        {"number": -1},
        {"duplicates_absorbed": -1},
        {"unnoted_total": -1},
        {"loop_stall_ms": -0.5},
        {"loop_stall_ms": 1e300},
        {"loop_stall_ms": 4e15},
        {"loop_stall_ms": HEAD["at_ms"] + 1},
        {"rejects": {"schema": -1}},
        {"rejects": {"x" * 257: 1}},
        {"counters": {"lag_ms": 1e300}},
        {"counters": {f"c{number}": 1.0 for number in range(1_001)}},
        {"state": {f"v{number}": {} for number in range(1_001)}},
        {"troubles": {f"t{number}": "" for number in range(51)}},
        {"troubles": {"x" * 65: "no room"}},
        {"troubles": {"": "no room"}},
        {"troubles": {"disk_full": "x" * 301}},
        {"troubles": {"disk_full": 28}},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_the_live_door(said: dict[str, Any]) -> None:
    """Numbers, names, times and sizes."""
    with pytest.raises(msgspec.ValidationError):
        possible_in_all(decoded(**said))
