"""Classes against Jepsen's published truth tables, and against a judge that looks at one event at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.check import check
from storefleet.verdict.classify import CLASSES, classify
from storefleet.verdict.history import History, Ledger, Reading, SourceLedger, ViewRecord
from tests.verdict.world import SOURCES, START_MS, content, read_of

ONE = SOURCES[0]


def history_of(attempts: set[int], acknowledged: set[int], found: dict[int, int] | None) -> History:
    """Jepsen's words: attempted adds, adds that were confirmed, and what was read how often (None: no read)."""
    ledger = Ledger()
    entries = ledger.source(ONE)
    for number in sorted(attempts):
        entries.append(number, content(ONE, number), START_MS)
    entries.applied = IntervalSet((number, number) for number in acknowledged)
    view = ViewRecord(view="set", step="store", converged_at_ms=START_MS, healed_at_ms=START_MS - 1)
    if found is not None:
        read = read_of(ONE, IntervalSet((number, number) for number in sorted(found)))
        read.repeated = [(number, times) for number, times in found.items() if times > 1]
        view.read = {ONE: read}
    return History(ledger=ledger, views=[view])


# attempts, acknowledged, found -> validity, counts: the rules of Jepsen's `set` checker (one final read) and, with
# multiplicities, of `total-queue`; we are stricter than total-queue in one point: a duplicate is invalid
TRUTH = [
    ({1}, {1}, None, "unknown", {}),  # "Set was never read"
    ({1, 2}, {1, 2}, {1: 1, 2: 1}, "valid", {"ok": 2}),
    ({1, 2}, {1, 2}, {1: 1}, "invalid", {"ok": 1, "lost": 1}),
    ({1, 2}, {1}, {1: 1, 2: 1}, "valid", {"ok": 1, "recovered": 1}),
    ({1}, {1}, {1: 1, 2: 1}, "invalid", {"ok": 1, "unexpected": 1}),
    ({1}, set(), {}, "unknown", {"never_read": 1}),
    ({1, 2}, {1}, {1: 2, 2: 1}, "invalid", {"duplicated": 1, "recovered": 1}),
    (set(), set(), {1: 1}, "invalid", {"unexpected": 1}),
    (set(), set(), {}, "unknown", {}),
    (
        {1, 2, 3, 4},
        {1, 2},
        {2: 1, 3: 1, 9: 1},
        "invalid",
        {"ok": 1, "lost": 1, "recovered": 1, "never_read": 1, "unexpected": 1},
    ),
]


@pytest.mark.parametrize(("attempts", "acknowledged", "found", "validity", "counts"), TRUTH)
def test_jepsen_set_and_total_queue(
    attempts: set[int], acknowledged: set[int], found: dict[int, int] | None, validity: str, counts: dict[str, int]
) -> None:
    """ok, lost, recovered, unexpected, duplicated and never-read follow Jepsen's published rules."""
    verdict = check(history_of(attempts, acknowledged, found))
    assert verdict.validity == validity
    if found is not None:
        assert {name: count for name, count in verdict.counts.items() if count} == counts


# attempted, acknowledged, dequeued how often -> counts: the rules of Jepsen's `total-queue`, as multisets
TOTAL_QUEUE = [
    ({1, 2, 3}, {1, 2, 3}, {1: 1, 2: 1, 3: 1}, {"ok": 3}),
    ({1, 2, 3}, {1, 2, 3}, {1: 1, 2: 1}, {"ok": 2, "lost": 1}),
    ({1, 2, 3}, {1, 2, 3}, {1: 3, 2: 1, 3: 1}, {"ok": 2, "duplicated": 1}),
    ({1, 2, 3}, {1, 2}, {1: 1, 2: 1, 3: 1}, {"ok": 2, "recovered": 1}),
    ({1, 2}, {1, 2}, {1: 1, 2: 1, 7: 2}, {"ok": 2, "unexpected": 1}),
    (
        {1, 2, 3, 4},
        {1, 2},
        {1: 2, 4: 1, 9: 1},
        {"duplicated": 1, "lost": 1, "recovered": 1, "never_read": 1, "unexpected": 1},
    ),
]


@pytest.mark.parametrize(("attempts", "acknowledged", "found", "counts"), TOTAL_QUEUE)
def test_jepsen_total_queue(
    attempts: set[int], acknowledged: set[int], found: dict[int, int], counts: dict[str, int]
) -> None:
    """What goes in must come out; we count elements where Jepsen counts surplus copies, and each in one class only."""
    verdict = check(history_of(attempts, acknowledged, found))
    assert {name: count for name, count in verdict.counts.items() if count} == counts
    assert verdict.validity == ("invalid" if counts.keys() & {"lost", "unexpected", "duplicated"} else "valid")


# known at 0 s; readings (second, seen); the final read (seen); deadline 0 -> class: Jepsen's `set-full`
SET_FULL = [
    ([(1, True)], True, "ok"),
    ([(1, False), (2, True)], True, "stale"),  # stable later than known
    ([(0, False), (1, True)], True, "ok"),  # a concurrent miss does not count
    ([(1, True), (2, False)], False, "lost"),  # seen once, then gone
    ([(1, False)], False, "lost"),
    ([(1, False), (2, False), (3, True), (4, True)], True, "stale"),  # absent twice, then stable
    ([(1, True), (2, False), (3, True)], True, "stale"),  # last absent before last present: stable, but late
    ([(1, True), (2, True), (3, False)], False, "lost"),  # last absent after last present
    ([], True, "ok"),
    ([], False, "lost"),
]


@pytest.mark.parametrize(("seen", "expected"), [(True, "recovered"), (False, "never_read")])
def test_jepsen_set_full_without_acknowledgement(seen: bool, expected: str) -> None:
    """An element that nobody confirmed is recovered when it is read, and never-read when it is not."""
    history = history_of({1}, set(), {1: 1} if seen else {})
    assert classify(history).overall.counts[expected] == 1


@pytest.mark.parametrize(("readings", "at_end", "expected"), SET_FULL)
def test_jepsen_set_full(readings: list[tuple[int, bool]], at_end: bool, expected: str) -> None:
    """Stable, stale and lost over many reads follow Jepsen's set-full, for an element known at a known time."""
    history = history_of({1}, {1}, {1: 1} if at_end else {})
    view = history.views[0]
    view.deadline_s = 0.0
    view.timeline = [Reading(START_MS + second * 1000, {ONE: [(1, 1)] if seen else []}) for second, seen in readings]
    assert classify(history).overall.counts[expected] == 1


def judge_one(entries: SourceLedger, read: ViewRead, sequence: int) -> str:
    """The table of classify.py for one event in one view, by looking."""
    found = IntervalSet(read.intervals)
    applied = sequence in entries.applied
    rejected = sequence in entries.rejected and not (
        entries.rejected[sequence][1] == "key_conflict" and sequence in entries.conflicts
    )
    sent = sequence in entries.sequences
    if sequence in entries.malformed and (sequence in found or applied):
        return "unexpected"
    if sequence not in found:
        return "lost" if applied else "rejected" if rejected else "never_read"
    if rejected or not sent:
        return "unexpected"
    position = sorted(found.numbers()).index(sequence) * 8
    if read.hashes[position : position + 8] != entries.hash_of(sequence):
        return "corrupted"
    if dict(read.repeated).get(sequence, 1) > 1:
        return "duplicated"
    return "ok" if applied else "recovered"


@st.composite
def worlds(draw: st.DrawFn) -> History:
    """One source of up to 12 events with any facts, and up to three views that hold anything."""
    count = draw(st.integers(0, 12))
    numbers = st.sets(st.integers(1, max(count, 1)), max_size=count)
    history = history_of(set(range(1, count + 1)), set(), None)
    assert history.ledger is not None
    entries = history.ledger.source(ONE)
    entries.applied = IntervalSet((n, n) for n in draw(numbers) if n <= count)
    entries.malformed = {n: "schema" for n in draw(numbers) if n <= count}
    reason = st.sampled_from(["schema", "key_conflict"])
    entries.rejected = {n: ("parm", draw(reason)) for n in draw(numbers) if n <= count}
    entries.conflicts = {n for n in draw(numbers) if n <= count}
    history.views = []
    for index in range(draw(st.integers(1, 3))):
        found = draw(st.sets(st.integers(1, count + 3), max_size=count + 3))
        salts = dict.fromkeys(draw(numbers), 1)
        read = read_of(ONE, IntervalSet((n, n) for n in sorted(found)), salts)
        read.repeated = [(n, 2) for n in sorted(draw(numbers) & found)]
        history.views.append(ViewRecord(view=f"view{index}", step="store", read={ONE: read}))
    return history


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_every_event_is_in_exactly_one_class(history: History) -> None:
    """Whatever the facts, whole-set judging agrees with looking at each event, and the counts add up."""
    judged = classify(history)
    assert history.ledger is not None
    entries = history.ledger.source(ONE)
    expected = dict.fromkeys(CLASSES, 0)
    everything = set(entries.sequences.numbers())
    for view in history.views:
        assert view.read is not None
        everything |= set(IntervalSet(view.read[ONE].intervals).numbers())
    for sequence in everything:
        classes = []
        for view in history.views:
            assert view.read is not None
            read = view.read[ONE]
            if sequence in entries.sequences or sequence in IntervalSet(read.intervals):
                classes.append(judge_one(entries, read, sequence))
        expected[min(classes, key=CLASSES.index)] += 1
    assert judged.overall.counts == expected
    assert sum(judged.overall.counts.values()) == judged.sent + judged.invented
    verdict = check(history)
    assert all(entry.code != "checker_failed" for entry in verdict.unknown)


def test_a_view_of_some_types_is_not_asked_for_others() -> None:
    """What is not of a view's types is not missing there, unexpected if it is there, and judged by its outcome."""
    history = history_of({1, 2, 3}, {1, 2}, {1: 1})
    assert history.ledger is not None
    entries = history.ledger.source(ONE)
    history.ledger.types[:] = ["transaction.retail", "terminal.alert"]
    entries.types[:] = bytes([0, 1, 1])
    view = history.views[0]
    view.types = ["transaction.retail"]
    judged = classify(history)
    assert {name: count for name, count in judged.overall.counts.items() if count} == {"ok": 2, "never_read": 1}
    assert judged.by_view["set"].counts["ok"] == 1
    view.read = {ONE: read_of(ONE, IntervalSet([(1, 2)]))}
    assert classify(history).overall.counts["unexpected"] == 1


ENDED = [
    # the view's feed is behind 2 and 3, and 2 of the three events are missing
    ({"interrupted": True}, [(2, 3)], {"ok": 1, "never_read": 2}, "unknown"),
    ({"interrupted": True}, [(3, 3)], {"ok": 1, "lost": 1, "never_read": 1}, "invalid"),
    ({"interrupted": True}, [], {"ok": 1, "lost": 2}, "invalid"),
    ({"interrupted": True}, None, {"ok": 1, "lost": 2}, "invalid"),
    ({"interrupted": True, "aborted": True}, [(3, 3)], {"ok": 1, "lost": 1, "never_read": 1}, "invalid"),
    ({"aborted": True}, None, {"ok": 1, "never_read": 2}, "unknown"),
    ({}, [(2, 3)], {"ok": 1, "lost": 2}, "invalid"),
]


@pytest.mark.parametrize(("ended", "unreached", "counts", "validity"), ENDED)
def test_a_view_that_had_no_time_to_come_up(
    ended: dict[str, bool], unreached: list[tuple[int, int]] | None, counts: dict[str, int], validity: str
) -> None:
    """In a run that was ended, what a view's feed had not come to is not lost; what it had passed is."""
    history = history_of({1, 2, 3}, {1, 2, 3}, {1: 1})
    for name, value in ended.items():
        setattr(history, name, value)
    view = history.views[0]
    view.converged_at_ms, view.read_at_ms = None, START_MS
    if unreached is not None:
        view.unreached = {ONE: IntervalSet(unreached)}
    verdict = check(history)
    assert ({name: count for name, count in verdict.counts.items() if count}, verdict.validity) == (counts, validity)
    assert [entry.code for entry in verdict.unknown] == (["aborted"] if "never_read" in counts else [])


def test_what_had_its_deadline_before_the_end_is_lost_all_the_same() -> None:
    """A feed that has stood still since long before the run was ended is no view that had no time."""
    history = history_of({1, 2, 3}, {1, 2, 3}, {1: 1})
    assert history.ledger is not None
    history.interrupted = True
    history.ledger.source(ONE).times_ms[-1] = START_MS + 20_000
    view = history.views[0]
    view.calm_since_ms = START_MS - 1_000
    view.healed_at_ms, view.converged_at_ms, view.read_at_ms = START_MS + 20_000, None, START_MS + 21_000
    view.unreached = {ONE: IntervalSet([(2, 3)])}
    verdict = check(history)
    assert {name: count for name, count in verdict.counts.items() if count} == {"ok": 1, "lost": 1, "never_read": 1}
    assert verdict.validity == "invalid"


@pytest.mark.parametrize(("begun_ago_ms", "lost"), [(500, 0), (9_999, 0), (10_001, 1)])
def test_a_view_that_was_rebuilt_has_its_deadline_again(begun_ago_ms: int, lost: int) -> None:
    """What a rebuilt view had not come to again when the run was ended is not lost, however long ago it was committed."""
    history = history_of({1, 2, 3}, {1, 2, 3}, {1: 1})
    history.interrupted = True
    view = history.views[0]
    view.healed_at_ms, view.converged_at_ms, view.read_at_ms = START_MS + 59_000, None, START_MS + 60_000
    view.calm_since_ms, view.begun_at_ms = START_MS - 1_000, view.read_at_ms - begun_ago_ms
    view.unreached = {ONE: IntervalSet([(2, 3)])}
    verdict = check(history)
    assert (verdict.counts["lost"], verdict.counts["never_read"]) == (2 * lost, 2 - 2 * lost)
    assert verdict.validity == ("invalid" if lost else "unknown")


def test_a_view_that_had_its_deadline_answers_for_all() -> None:
    """Ended or not: after its whole deadline a view that is still behind has lost what it lacks."""
    history = history_of({1, 2}, {1, 2}, {1: 1})
    history.interrupted = True
    view = history.views[0]
    view.converged_at_ms, view.read_at_ms = None, START_MS + 10_000
    view.unreached = {ONE: IntervalSet([(2, 2)])}
    assert check(history).counts["lost"] == 1
