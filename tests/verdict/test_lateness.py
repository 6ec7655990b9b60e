"""What came late, against a judge that looks at one event and one span at a time; who is blamed; what silence says."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times, unpacked_times
from fleetwire.witness import ViewRead
from storefleet.verdict.check import check
from storefleet.verdict.held_up import HeldUp
from storefleet.verdict.history import Reading, SourceLedger, ViewRecord
from storefleet.verdict.host_clock import HostClock
from storefleet.verdict.lateness import all_in_time, applied_until, due_moments, late_by_times, plain_limit
from storefleet.verdict.machine import ClockStep, MachineRecord, Stall
from storefleet.verdict.plan_check import usable
from storefleet.verdict.run_format import Plan
from storefleet.verdict.silence import Silence
from tests.verdict.world import SOURCES, START_MS, content, healthy, view

ONE = SOURCES[0]
DEADLINE_MS = 3_000
moments = st.integers(0, 20_000)


def ledger_of(committed: list[int]) -> SourceLedger:
    """One source that committed at these moments."""
    entries = SourceLedger()
    for number, at_ms in enumerate(sorted(committed), start=1):
        entries.append(number, content(ONE, number), at_ms)
    return entries


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(moments, moments, st.booleans()), min_size=1, max_size=12),
    st.lists(st.tuples(moments, moments), max_size=2),
    moments,
    st.sampled_from([0, 4_000, 9_000]),
)
def test_each_event_is_judged_by_its_own_times(
    events: list[tuple[int, int, bool]], lives: list[tuple[int, int]], calm_ms: int, begun_ms: int
) -> None:
    """An event is late if, in some span of calm, it was missing for longer than the deadline; a rebuild makes none late."""
    committed = sorted(at_ms for at_ms, _, _ in events)
    entries = ledger_of(committed)
    held = {number: after for number, (_, after, there) in enumerate(events, start=1) if there}
    applied = {number: committed[number - 1] + after for number, after in held.items()}
    numbers = IntervalSet((number, number) for number in sorted(applied))
    times = packed_times([applied[number] for number in sorted(applied)])
    read = ViewRead(intervals=numbers.to_list(), hashes=b"", applied_at_ms=times)
    record = ViewRecord(view="sales", step="views", healed_at_ms=calm_ms, deadline_s=DEADLINE_MS / 1000)
    record.calm_earlier = [(min(life), max(life)) for life in lives]
    record.begun_at_ms = begun_ms
    spans = [*record.calm_earlier, (calm_ms, 10**9)]
    expected = [
        number
        for number, at_ms in applied.items()
        if committed[number - 1] >= begun_ms
        and any(min(at_ms, until) - max(committed[number - 1], since) > DEADLINE_MS for since, until in spans)
    ]
    found = late_by_times(record, entries, read, plain_limit(record))
    assert list(found.numbers()) == sorted(expected)
    named = due_moments(record, entries, read, found)
    assert sorted(number for _, members in named for number in members.numbers()) == sorted(expected)
    for moment_ms, members in named:
        assert all(committed[number - 1] < moment_ms < applied[number] for number in members.numbers())


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(moments, st.integers(0, 2**63 - 1) | st.integers(-30_000, 30_000)), max_size=8),
    st.sampled_from([0, 3_000, 2**52]),
)
def test_all_are_in_time_at_once(times: list[tuple[int, int]], deadline_ms: int) -> None:
    """What is compared as one number is what is compared one by one; times that cannot be are looked at each."""
    applied = [max(-(2**63), min(2**63 - 1, at_ms + offset)) for at_ms, offset in times]
    record = ViewRecord(view="sales", step="views", deadline_s=deadline_ms / 1000)
    rows = packed_times([at_ms for at_ms, _ in times]), packed_times(applied)
    possible = all(0 <= at_ms < 2**53 for at_ms in applied)
    right = all(-200 <= late_ms - at_ms <= deadline_ms for late_ms, (at_ms, _) in zip(applied, times, strict=True))
    assert all_in_time(record, *rows) == (possible and right)
    record.calm_since_ms, record.begun_at_ms = 1, 2
    assert not all_in_time(record, *rows)


def test_times_there_and_back() -> None:
    """Eight bytes each, little-endian; what was applied by a moment is told apart."""
    packed = packed_times([5, 7, 9])
    assert (packed[:8], list(unpacked_times(packed))) == ((5).to_bytes(8, "little"), [5, 7, 9])
    read = ViewRead(intervals=[(3, 4), (8, 8)], hashes=b"", applied_at_ms=packed)
    assert applied_until(read, 7).to_list() == [(3, 4)]
    assert applied_until(read, 9).to_list() == [(3, 4), (8, 8)]


def late_by(
    seconds: float, stalls: list[Stall], steps: tuple[ClockStep, ...] = (), readings: tuple[Reading, ...] = ()
) -> tuple[list[str], list[str]]:
    """The reasons of a run in which the sales view applied everything so much after its commit, with a deadline of 10 s."""
    history = healthy()
    view(history, "sales").clock_steps = list(steps)
    view(history, "sales").timeline = list(readings)
    sales = view(history, "sales")
    sales.healed_at_ms, sales.calm_since_ms, sales.converged_at_ms = START_MS, START_MS, START_MS
    history.stalls = stalls
    assert sales.read is not None
    assert history.ledger is not None
    for source, read in sales.read.items():
        committed = history.ledger.sources[source].times_ms
        read.applied_at_ms = packed_times([at_ms + round(seconds * 1000) for at_ms in committed])
    verdict = check(history)
    return [one.code for one in verdict.invalid], [one.code for one in verdict.unknown]


def test_the_machine_alone_excuses() -> None:
    """Late is invalid, unless the machine stood still for what is too much; a stage that stood still excuses nothing."""
    assert late_by(10, []) == ([], [])
    assert late_by(10.001, []) == (["stale"], [])
    still = [Stall("lab", START_MS + 10_500, 2_000.0)]
    assert late_by(11, still) == ([], ["machine_stalled"])
    assert late_by(13, still) == (["stale"], [])
    assert late_by(11, [Stall("poseidon-1", START_MS + 10_500, 2_000.0)]) == (["stale"], [])


def test_a_step_of_the_hosts_clock_excuses_what_lies_on_both_sides_of_it() -> None:
    """Events of the seconds 1 to 10 by the run's clock, and the host's was set in between, before, or much later."""
    ahead, back = (ClockStep(START_MS + 10_200 + step_ms, step_ms) for step_ms in (60_000, -60_000))
    assert late_by(16, [], (ClockStep(START_MS + 99_000, 60_000),)) == (["stale"], [])
    assert late_by(61, [], (ClockStep(START_MS + 64_000, 60_000),)) == (["stale"], [])
    assert late_by(69.5, [], (ahead,)) == ([], [])
    assert late_by(70.5, [], (ahead,)) == (["stale"], [])
    assert late_by(-50.5, [], (back,)) == ([], []), "they seem to have come before they were committed"
    assert late_by(-49.5, [], (back,)) == (["stale"], [])
    assert late_by(-70, [], (back,)) == ([], ["times_contradict"])


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (ClockStep(START_MS + 65_000, 60_000), 1),
        (ClockStep(START_MS - 55_000, -60_000), 1),
        (ClockStep(START_MS + 5_000, 60_000), 0),  # by the run's clock that was before the run
        (ClockStep(2**53 + 5, 1), 0),
        (ClockStep(START_MS, -(2**60)), 0),
    ],
)
def test_a_step_that_cannot_have_been_excuses_nothing(step: ClockStep, left: int) -> None:
    """The run's clock began with the host's, so that a step has a moment by either."""
    plan = Plan(started_at_ms=START_MS, machine=MachineRecord(clock_steps=[step]))
    assert (len(usable(plan)), len(plan.machine.clock_steps if plan.machine else [])) == (1 - left, left)


def test_what_came_before_its_commit_proves_nobody_punctual() -> None:
    """A view whose clock is wrong is judged by what its stage reported; without reports nothing is known."""
    assert late_by(-0.2, []) == ([], [])
    assert late_by(-0.201, []) == ([], ["times_contradict"])
    held_up = tuple(Reading(START_MS + second * 1000, {ONE: [(1, 2)]}) for second in (10, 14, 18))
    assert late_by(-30, [], readings=held_up) == (["stale"], ["times_contradict"])
    assert late_by(1, [], readings=held_up) == ([], []), "its own times tell all"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(moments, st.integers(-9_000, 9_000).filter(lambda step_ms: abs(step_ms) >= 200)), max_size=3),
    st.lists(st.tuples(moments, st.integers(0, 8_000)), min_size=1, max_size=12),
    st.integers(0, 900),
)
def test_a_clock_that_was_set_makes_nothing_later_than_it_was(
    sets: list[tuple[int, int]], events: list[tuple[int, int]], noticed_ms: int
) -> None:
    """Whatever was done to it, however late that was noticed; steps ahead that are longer than that are undone exactly."""
    sets.sort()

    def shown_ms(at_ms: int) -> int:
        return at_ms + sum(step_ms for set_ms, step_ms in sets if set_ms <= at_ms)

    ahead = accumulate(step_ms for _, step_ms in sets)
    clock = HostClock(
        ClockStep(set_ms + noticed_ms + ahead_ms, step_ms)
        for (set_ms, step_ms), ahead_ms in zip(sets, ahead, strict=True)
    )
    committed, applied = (
        [shown_ms(at_ms) for at_ms in row] for row in zip(*((b, b + d) for b, d in events), strict=True)
    )
    pairs = zip(*clock.pairs(committed, applied), strict=True)
    for (began_ms, delay_ms), host_ms, (before_ms, after_ms) in zip(events, committed, pairs, strict=True):
        assert -200 <= after_ms - before_ms <= delay_ms
        assert clock.earliest_ms(host_ms) <= began_ms <= clock.latest_ms(host_ms)
        if all(step_ms >= 2_000 for _, step_ms in sets):
            assert (before_ms, after_ms) == (began_ms, began_ms + delay_ms)


PATH = [("", "till"), ("a", "broker"), ("b", "parm"), ("b", "broker"), ("c", "sync")]


@pytest.mark.parametrize(
    ("address", "still", "culprit"),
    [
        (("broker", "b"), ["parm-1"], ("parm",)),  # what a stage that stands still has not taken lies before it
        (("parm",), ["parm-2"], ("parm",)),
        (("parm",), ["sync-1"], ("parm",)),  # too far off: something else keeps it
        (("broker", "c"), ["sync-1"], ("sync",)),
        (("till", "a", "broker", "b"), ["chaos-1"], ("a", "b")),
        (("parm",), ["chaos-1"], ("b",)),  # it cannot hand on
        (("broker", "b"), ["lab"], ("broker", "b")),
        (("broker", "b"), [], ("broker", "b")),
        ((), ["parm-1"], ()),
    ],
)
def test_who_stood_still_is_the_place(address: tuple[str, ...], still: list[str], culprit: tuple[str, ...]) -> None:
    """At the place of a late event, or next to take it: only a process that stood still at that very time."""
    held_up = HeldUp([Stall(process, 1_000, 500.0) for process in still])
    assert held_up.culprit(address, PATH, 1_200) == culprit
    assert held_up.culprit(address, PATH, 1_700) == address


def told(reports: list[tuple[int, int, int, set[str]]]) -> list[tuple[int, set[str]]]:
    """What the silence of these reports (incarnation, number, time, named) proves of sources a and b, and until when."""
    silence = Silence({"a", "b"})
    found = [silence.broken_by(*report) for report in reports]
    return [(at_ms, names) for at_ms, names in [*found, silence.at_the_end()] if names]


@pytest.mark.parametrize(
    ("reports", "proofs"),
    [
        ([(1, 1, 10, {"a"}), (1, 2, 20, set()), (1, 3, 30, {"a"})], [(20, {"a"}), (30, {"b"})]),
        ([(1, 1, 10, {"a"}), (1, 2, 20, set())], [(20, {"a", "b"})]),
        ([(1, 1, 10, {"a"}), (1, 3, 30, {"b"}), (1, 4, 40, set())], [(40, {"b"})]),  # a may be in the second
        ([(1, 0, 10, {"a"}), (1, 0, 20, set())], []),  # nobody numbers them
        ([(1, 1, 10, {"a"}), (1, 2, 20, set()), (2, 1, 30, set())], [(20, {"a", "b"}), (30, {"a", "b"})]),
    ],
)
def test_what_silence_says(reports: list[tuple[int, int, int, set[str]]], proofs: list[tuple[int, set[str]]]) -> None:
    """A report that follows the one before says of every other source that it has not changed."""
    assert told(reports) == proofs
