"""A witness only grows: snapshots can be late, partial or lost, and the union of those that arrive never overstates."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire import held_events
from fleetwire import witness as module
from fleetwire.control import LINE_LIMIT
from fleetwire.held_events import DIGEST_MASK, HeldEvents
from fleetwire.identity import MAXIMUM_SEQUENCE
from fleetwire.intervals import IntervalSet
from fleetwire.witness import SET_NAMES, Holding, Snapshot, Witness

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"
Sets = dict[str, dict[str, IntervalSet]]
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "take_again", "hand_on", "snapshot", "lost snapshot"]),
              st.sampled_from([TILL, OTHER]), st.integers(1, 12)),
    max_size=60,
)  # fmt: skip


def report(witness: Witness, *, full: bool = False) -> Snapshot:
    """The witness's next snapshot."""
    return witness.snapshot("parm", 2, 3, full=full, loop_stall_ms=12.345)


def unite(union: Sets, snapshot: Snapshot) -> None:
    """Add a snapshot to what has been seen of a witness."""
    for name in SET_NAMES:
        for source, intervals in getattr(snapshot, name).items():
            union.setdefault(name, {}).setdefault(source, IntervalSet()).update(IntervalSet(intervals))


def truth(witness: Witness) -> Sets:
    """What the witness itself holds."""
    return {name: getattr(witness, name) for name in SET_NAMES if getattr(witness, name)}


def covers(larger: Sets, smaller: Sets) -> bool:
    """Whether everything of the smaller is in the larger."""
    return not any(
        numbers.difference(larger.get(name, {}).get(source, IntervalSet()))
        for name, sets in smaller.items()
        for source, numbers in sets.items()
    )


@given(STEPS)
def test_a_union_with_losses_grows_to_the_truth(steps: list[tuple[str, str, int]]) -> None:
    """Whatever snapshots are lost, the union understates at most, and one full snapshot makes it the truth."""
    witness, union = Witness(), Sets()
    for what, source, sequence in steps:
        if what == "hand_on":
            witness.hand_on(source, sequence)
        elif what.startswith("take"):
            witness.take(source, sequence, 2 if what == "take_again" else 1)
        else:
            snapshot = report(witness)
            if what == "snapshot":
                unite(union, snapshot)
        assert covers(truth(witness), union)
    unite(union, report(witness, full=True))
    assert union == truth(witness)


@given(STEPS)
def test_a_union_without_losses_is_the_truth(steps: list[tuple[str, str, int]]) -> None:
    """When no snapshot is lost, the changes alone add up to the truth."""
    witness, union = Witness(), Sets()
    for what, source, sequence in steps:
        if what == "hand_on":
            witness.hand_on(source, sequence)
        elif what.startswith("take"):
            witness.take(source, sequence, 2 if what == "take_again" else 1)
        else:
            unite(union, report(witness))
    unite(union, report(witness))
    assert union == truth(witness)


def test_a_snapshot_holds_only_what_changed() -> None:
    """A source that changed comes with its whole sets, one that did not stays out; a full snapshot has them all."""
    witness = Witness()
    witness.take(TILL, 1)
    witness.take(OTHER, 1)
    assert report(witness).taken == {TILL: [(1, 1)], OTHER: [(1, 1)]}
    witness.take(TILL, 2)
    witness.hand_on(TILL, 1)
    changed = report(witness)
    assert (changed.taken, changed.handed_on) == ({TILL: [(1, 2)]}, {TILL: [(1, 1)]})
    assert report(witness).taken == {}
    assert report(witness, full=True).taken == {TILL: [(1, 2)], OTHER: [(1, 1)]}


def test_repetitions_are_counted_and_change_nothing() -> None:
    """An event that comes again is absorbed and counted; what came first on a retry is kept apart."""
    witness = Witness()
    assert witness.take(TILL, 7, attempt=2)
    assert not witness.take(TILL, 7, attempt=3)
    assert not witness.take(TILL, 7)
    first = report(witness)
    assert first.duplicates_absorbed == 2
    assert first.first_taken_on_retry == {TILL: [(7, 7)]}
    assert first.counters["taken_total"] == 3.0
    witness.take(TILL, 7)
    witness.hand_on(TILL, 7)
    report(witness)
    witness.hand_on(TILL, 7)
    assert report(witness).handed_on == {}


def test_who_when_and_how_much() -> None:
    """A snapshot names its incarnation; counters are floats whatever was counted; a stall is told to a tenth."""
    witness = Witness()
    witness.counters["backlog"] = 5
    witness.reject("schema", TILL, 0)
    witness.reject("schema", TILL, 1)
    found = report(witness)
    assert (found.stage, found.instance, found.incarnation) == ("parm", 2, 3)
    assert found.rejects == {"schema": 2}
    assert found.counters == {"taken_total": 0.0, "handed_on_total": 0.0, "backlog": 5.0}
    assert {type(value) for value in found.counters.values()} == {float}
    assert found.loop_stall_ms == 12.3


def test_a_snapshot_is_a_value() -> None:
    """What a snapshot says does not change when the witness goes on."""
    witness = Witness()
    witness.take(TILL, 1)
    witness.register("store_board", "s1", "OPEN")
    found = report(witness)
    witness.take(TILL, 2)
    witness.reject("schema", TILL, 2)
    witness.register("store_board", "s1", "OFFLINE")
    assert (found.taken, found.rejects, found.state) == ({TILL: [(1, 1)]}, {}, {"store_board": {"s1": "OPEN"}})


def test_registers_go_out_when_they_change() -> None:
    """A snapshot has the newest value of each register that was set since the last; a full one has every register."""
    witness = Witness()
    witness.register("store_board", "s1", "OPEN")
    witness.register("store_board", "s2", "OPEN")
    report(witness)
    witness.register("store_board", "s1", "DEGRADED")
    witness.register("store_board", "s1", "OFFLINE")
    assert report(witness).state == {"store_board": {"s1": "OFFLINE"}}
    assert report(witness).state == {}
    assert report(witness, full=True).state == {"store_board": {"s1": "OFFLINE", "s2": "OPEN"}}


def test_a_full_snapshot_takes_nothing_from_the_next() -> None:
    """What changed before a full snapshot is in the next one of changes all the same, and each has its number."""
    witness = Witness()
    witness.take(TILL, 1)
    witness.register("store_board", "s1", "OPEN")
    assert report(witness, full=True).number == 1
    changes = report(witness)
    assert (changes.number, changes.taken, changes.state) == (2, {TILL: [(1, 1)]}, {"store_board": {"s1": "OPEN"}})
    assert report(witness).taken == {}


def test_a_journey() -> None:
    """A step says when it was taken, at which attempt, when and how it was handed on first, or that it was rejected."""
    witness = Witness()
    witness.take(TILL, 1, attempt=2)
    step = witness.journey(TILL, 1)
    assert step is not None
    assert (step.attempt, step.handed_on_ms, step.did) == (2, 0, "")
    witness.hand_on(TILL, 1, "stored")
    told_ms = step.handed_on_ms
    assert told_ms >= step.taken_ms
    witness.hand_on(TILL, 1, "stored again")
    assert (step.handed_on_ms, step.did) == (told_ms, "stored")
    witness.take(TILL, 2)
    witness.reject("schema", TILL, 2)
    assert {key: found.did for key, found in witness.journeys().items()} == {
        f"{TILL}.1": "stored",
        f"{TILL}.2": "rejected: schema",
    }
    assert witness.journey(OTHER, 1) is None


def test_the_ring_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit the ring forgets what was taken first; the sets forget nothing."""
    monkeypatch.setattr(module, "JOURNEY_LIMIT", 3)
    witness = Witness()
    for sequence in range(1, 6):
        witness.take(TILL, sequence)
    assert [*witness.journeys()] == [f"{TILL}.{sequence}" for sequence in (3, 4, 5)]
    witness.hand_on(TILL, 1)
    assert witness.journey(TILL, 1) is None
    assert witness.taken[TILL].to_list() == [(1, 5)]


def test_sources_are_limited(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A source beyond the limit is counted and said once; those that have room go on being noted."""
    monkeypatch.setattr(module, "SOURCE_LIMIT", 2)
    witness = Witness()
    for source in (TILL, OTHER, "stranger.a.b.c", "stranger.a.b.d"):
        witness.take(source, 1)
        witness.hand_on(source, 1)
    witness.take(TILL, 2)
    found = report(witness)
    assert (found.taken, found.handed_on) == ({TILL: [(1, 2)], OTHER: [(1, 1)]}, {TILL: [(1, 1)], OTHER: [(1, 1)]})
    assert (found.unnoted_total, found.counters["taken_total"]) == (4, 5.0)
    assert ["this witness is full: no room for stranger.a.b.c.1;" in record.message for record in caplog.records] == [
        True
    ]


def test_names_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few they are, the names of the sources have room for so many characters only."""
    monkeypatch.setattr(module, "NAME_LIMIT", len(TILL) + 4)
    witness, numbers = Witness(), IntervalSet([(1, 1)])
    for source in (TILL, OTHER, "a.bb"):
        witness.take(source, 1)
    assert [witness.handed_on.unite(source, numbers) for source in (TILL, OTHER, "a.bb")] == [True, False, True]
    found = report(witness)
    assert (found.taken, found.unnoted_total) == ({TILL: [(1, 1)], "a.bb": [(1, 1)]}, 1)


def test_a_full_witness_fits_into_a_control_line() -> None:
    """Sets without any room left, of the longest numbers, and what a view holds leave 24 MB of a line for registers."""
    witness = Witness()
    sets, width = witness.taken, module.NAME_LIMIT // module.SOURCE_LIMIT
    holes = module.INTERVAL_LIMIT - module.SOURCE_LIMIT + 1
    scattered = IntervalSet([(MAXIMUM_SEQUENCE - 2 * back, MAXIMUM_SEQUENCE - 2 * back) for back in range(holes)])
    last = IntervalSet([(MAXIMUM_SEQUENCE, MAXIMUM_SEQUENCE)])
    for number in range(module.SOURCE_LIMIT):
        assert sets.unite(f"{number:0{width}}", last if number else scattered)
    assert not sets.unite("a", last)
    assert sets.add(f"{1:0{width}}", 5) is None
    witness.handed_on = witness.first_taken_on_retry = sets
    line = msgspec.json.encode(report(witness, full=True))
    assert 48_000_000 < len(line) < LINE_LIMIT - 51_000_000
    held = HeldEvents()
    for source, numbers in sets.items():
        held.put(source, numbers, DIGEST_MASK)
    witness.report_held("orders", held)
    line = msgspec.json.encode(report(witness, full=True))
    assert 74_000_000 < len(line) < LINE_LIMIT - 24_000_000


def test_what_was_not_sent_comes_again() -> None:
    """The sources of a snapshot that found no way to the lab are in the next one of changes, and it is counted."""
    witness = Witness()
    witness.take(TILL, 1)
    witness.hand_on(OTHER, 1)
    witness.leave_unsent(report(witness), "too long")
    witness.take(TILL, 2)
    found = report(witness)
    assert (found.taken, found.handed_on, found.unnoted_total) == ({TILL: [(1, 2)]}, {OTHER: [(1, 1)]}, 1)
    assert report(witness).taken == {}


def test_intervals_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, over all sources, only numbers that make no new interval are noted; closing a gap makes room."""
    monkeypatch.setattr(module, "INTERVAL_LIMIT", 3)
    witness = Witness()
    for source, sequence in ((TILL, 1), (TILL, 5), (OTHER, 1), (TILL, 9), ("taco.west.s0001.r03", 1)):
        witness.take(source, sequence, attempt=2)
    assert report(witness).unnoted_total == 2
    for sequence in (2, 4, 3, 9):
        witness.take(TILL, sequence)
    found = report(witness)
    assert found.taken == {TILL: [(1, 5), (9, 9)]}
    assert (found.unnoted_total, found.duplicates_absorbed) == (2, 0)


def test_first_takings_on_a_retry_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scattered retries of numbers that make one interval together have their own gaps."""
    monkeypatch.setattr(module, "INTERVAL_LIMIT", 2)
    witness = Witness()
    for sequence in range(1, 7):
        witness.take(TILL, sequence, attempt=1 + sequence % 2)
    found = report(witness)
    assert (found.taken, found.first_taken_on_retry) == ({TILL: [(1, 6)]}, {TILL: [(1, 1), (3, 3)]})
    assert found.unnoted_total == 1


def test_registers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A register beyond the limit of its view is counted; those that are there still change."""
    monkeypatch.setattr(module, "REGISTER_LIMIT", 1)
    witness = Witness()
    for name, value in (("s1", "OPEN"), ("s2", "OPEN"), ("s1", "OFFLINE")):
        witness.register("store_board", name, value)
    found = report(witness)
    assert (found.state, found.unnoted_total) == ({"store_board": {"s1": "OFFLINE"}}, 1)


def test_what_was_applied_before_has_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness that goes on from earlier incarnations keeps its own sets, within the same limits."""
    monkeypatch.setattr(module, "SOURCE_LIMIT", 1)
    witness, before = Witness(), {TILL: IntervalSet([(1, 3)]), OTHER: IntervalSet([(1, 1)])}
    witness.resume(before)
    witness.resume({TILL: before[TILL]})
    witness.take(TILL, 4)
    found = report(witness, full=True)
    assert (found.taken, found.handed_on) == ({TILL: [(1, 4)]}, {TILL: [(1, 3)]})
    assert found.unnoted_total == 2
    assert before[TILL].to_list() == [(1, 3)]


def test_what_a_view_holds_goes_with_every_snapshot() -> None:
    """What changed, or all of it; what was not sent comes again, and of a view that began anew nothing from before."""
    witness, held = Witness(), HeldEvents()
    witness.report_held("orders", held)
    held.add(TILL, 1, b"\xff" * 8)
    held.add(TILL, 2, b"\x00" * 7 + b"\x03")
    first = Holding(sources={TILL: [(1, 2)]}, digests={TILL: 2})
    lost = report(witness)
    assert lost.holdings == {"orders": first}
    assert report(witness).holdings == {"orders": Holding()}
    witness.leave_unsent(lost, "too long")
    held.add(OTHER, 9, b"\x00" * 8)
    assert report(witness).holdings["orders"].sources == {TILL: [(1, 2)], OTHER: [(9, 9)]}
    held.begin_anew()
    witness.leave_unsent(lost, "too long")
    assert report(witness).holdings == {"orders": Holding(epoch=1)}
    held.add(OTHER, 4, b"\x01")
    for full in (True, False, True):
        assert report(witness, full=full).holdings == {
            "orders": Holding(epoch=1, sources={OTHER: [(4, 4)]}, digests={OTHER: 1})
        }


def test_what_a_view_holds_is_told_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources beyond the room of a set are left out, and counted as what a witness has no room for."""
    witness, held = Witness(), HeldEvents()
    witness.report_held("orders", held)
    for sequence in (1, 3, 5):
        held.add(TILL, sequence, b"")
    held.add(OTHER, 1, b"")
    for limit, value in (("INTERVAL_LIMIT", 3), ("NAME_LIMIT", len(TILL)), ("SOURCE_LIMIT", 1)):
        with monkeypatch.context() as tight:
            tight.setattr(held_events, limit, value)
            before = witness.unnoted_total
            assert report(witness, full=True).holdings["orders"].sources == {TILL: [(1, 1), (3, 3), (5, 5)]}
            assert witness.unnoted_total == before + 1


def test_what_found_no_room_in_a_report_comes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that changed is forgotten, and a source that never fits keeps no other one out."""
    held = HeldEvents()
    for source in (TILL, OTHER):
        held.add(source, 1, b"")
    with monkeypatch.context() as tight:
        tight.setattr(held_events, "SOURCE_LIMIT", 1)
        reports = [held.report(full=False) for _ in range(3)]
    assert [left_out for _, left_out in reports] == [1, 0, 0]
    assert sorted(source for holding, _ in reports for source in holding.sources) == sorted((TILL, OTHER))
    for sequence in (3, 5):
        held.add(TILL, sequence, b"")
    held.add(OTHER, 2, b"")
    monkeypatch.setattr(held_events, "INTERVAL_LIMIT", 2)
    assert [held.report(full=False)[1] for _ in range(2)] == [1, 1]
    assert held.report(full=True)[0].sources == {OTHER: [(1, 2)]}


def test_registers_that_begin_anew() -> None:
    """Nothing of before is told any more, and the epoch says so."""
    witness = Witness()
    witness.register("board", "a", 1)
    witness.begin_registers("board")
    witness.register("board", "b", 2)
    for full in (True, False):
        found = report(witness, full=full)
        assert (found.state, found.holdings) == ({"board": {"b": 2}}, {"board": Holding(epoch=1)})
    witness.begin_registers("board")
    assert (report(witness).state, report(witness, full=True).state) == ({}, {})
    assert report(witness).holdings == {"board": Holding(epoch=2)}
