"""The schedule by itself: the same for the same seed, whole, and bounded."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import SettingsError
from storefleet.soak.schedule import (
    KINDS,
    LONGEST_GAP_S,
    LONGEST_LEAD_S,
    LONGEST_PAUSE_S,
    PROCESSES,
    SHORTEST_PAUSE_S,
    SINGLES,
    schedule,
)

SEEDS = st.integers(0, 2**63)
INDEXES = st.integers(0, 10_000)


@given(SEEDS, INDEXES)
def test_a_schedule_is_a_function_of_seed_and_index(seed: int, index: int) -> None:
    """Played alone, a schedule is what it was among the others."""
    among_others = [schedule(seed, number) for number in (index + 1, index)]
    assert schedule(seed, index) == among_others[1]


@given(SEEDS, INDEXES, st.floats(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))
def test_times_are_bounded(seed: int, index: int, longest_pause_s: float) -> None:
    """Nothing begins before the schedule or pauses longer than allowed, and the last step begins soon enough."""
    steps = schedule(seed, index, longest_pause_s=longest_pause_s)
    assert steps == sorted(steps, key=lambda step: step.at_s)
    assert 0 < steps[0].at_s <= LONGEST_LEAD_S
    assert steps[-1].at_s <= LONGEST_LEAD_S + max(LONGEST_GAP_S, longest_pause_s) + 0.01
    for step in steps:
        if step.kind == "pause":
            assert SHORTEST_PAUSE_S <= step.duration_s <= longest_pause_s + 0.005
        else:
            assert step.duration_s == 0


@given(SEEDS, st.integers(0, 50))
def test_each_process_suffers_each_kind_of_fault_once_a_turn(seed: int, turn: int) -> None:
    """27 single faults in a row are every process with every kind."""
    begin = turn * len(SINGLES)
    steps = [schedule(seed, 2 * number) for number in range(begin, begin + len(SINGLES))]
    assert {len(one) for one in steps} == {1}
    assert sorted((one.process, one.kind) for [one] in steps) == sorted(product(PROCESSES, KINDS))


@given(SEEDS, INDEXES)
def test_a_pair_is_two_processes(seed: int, index: int) -> None:
    """Between the single faults come pairs, never one process twice."""
    first, second = schedule(seed, 2 * index + 1)
    assert first.process != second.process


@given(SEEDS)
def test_pairs_hit_every_process_with_every_kind(seed: int) -> None:
    """In a long soak no process and no kind is left out, and some pairs overlap."""
    pairs = [schedule(seed, 2 * number + 1) for number in range(1000)]
    hit = {(step.process, step.kind) for pair in pairs for step in pair}
    assert hit == set(product(PROCESSES, KINDS))
    assert any(second.at_s < first.at_s + first.duration_s for first, second in pairs)


@pytest.mark.parametrize(("index", "longest_pause_s"), [(-1, 1.0), (0, 0.1), (0, 20.1), (0, float("nan"))])
def test_what_is_out_of_bounds_is_refused(index: int, longest_pause_s: float) -> None:
    """A negative index and a pause outside 0.2 to 20 s are settings errors."""
    with pytest.raises(SettingsError):
        schedule(1, index, longest_pause_s=longest_pause_s)
