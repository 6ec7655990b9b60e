"""What a view holds beside the ledger: counted by numbers and by content, source by source, and nothing cancels out."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.held_events import HeldEvents, digest_of
from fleetwire.intervals import IntervalSet
from storefleet import contents as module
from storefleet.contents import Comparison, Held, LedgerContents, Off, Shortfall
from storefleet.convergence import Recovery

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"
Rejections = dict[str, IntervalSet]


def content(source: str, sequence: int) -> bytes:
    """What the till sold."""
    return hash((source, sequence, "sold")).to_bytes(8, signed=True)


def rows(**upto: int) -> list[tuple[str, int, bytes]]:
    """The ledger's rows of the two tills, from 1 to a number, in turns."""
    names = {"till": TILL, "other": OTHER}
    pairs = [(number, names[name]) for name, last in upto.items() for number in range(1, last + 1)]
    return [(source, number, content(source, number)) for number, source in sorted(pairs)]


class World:
    """A ledger and one view."""

    def __init__(self, **upto: int) -> None:
        self.rejected: Rejections = {}
        self.refused: Rejections = {}
        self.ledger = LedgerContents(self.rejected, self.refused)
        self.ledger.add(rows(**upto))
        self.held = Held()
        self.view = Comparison(self.ledger, self.held)
        self.view.touch(self.ledger.committed)

    def hold(self, source: str, *numbers: int, altered: int = 0) -> None:
        """The view holds these numbers, one of them perhaps with another content."""
        hashes = [b"another!" if number == altered else content(source, number) for number in numbers]
        intervals = IntervalSet([(number, number) for number in numbers])
        self.held.put(source, intervals.to_list(), digest_of(hashes))

    def reject(self, source: str, *numbers: int, refused: bool = True) -> None:
        """These were rejected by word; ``refused``: they must not be held either."""
        for sets in (self.rejected, self.refused) if refused else (self.rejected,):
            sets.setdefault(source, IntervalSet()).update(IntervalSet([(one, one) for one in numbers]))
        self.ledger.note_rejections({source})
        self.view.touch({source})

    def off(self) -> dict[str, Off]:
        """How far off the view is, looked at now."""
        self.view.look()
        return self.view.off


def test_a_view_that_holds_everything_is_not_off() -> None:
    """Numbers and contents are the ledger's, and it agrees; before it said anything everything was missing."""
    world = World(till=5, other=3)
    assert world.off() == {TILL: Off(5, 0, differs=False), OTHER: Off(3, 0, differs=False)}
    assert (world.view.distance, world.view.agrees({})) == (8, True)
    world.hold(TILL, 1, 2, 3, 4, 5)
    world.hold(OTHER, 1, 2, 3)
    assert (world.off(), world.view.distance) == ({}, 0)
    assert world.view.agrees(world.ledger.committed)


def test_the_oldest_that_is_missing() -> None:
    """By source; a hole before what lies beyond it, 0 for what is wrong otherwise, and nothing that came since the look."""
    world = World(till=6, other=3)
    world.off()
    assert world.view.oldest_missing() == {TILL: 1, OTHER: 1}
    world.hold(TILL, 1, 2, 4)
    world.hold(OTHER, 1, 2, 3, altered=2)
    world.off()
    assert world.view.oldest_missing() == {TILL: 3, OTHER: 0}
    world.hold(TILL, 1, 2, 3, 4)
    assert world.view.oldest_missing() == {TILL: 5, OTHER: 0}
    world.hold(TILL, 1, 2, 3, 4, 5, 6)
    assert world.view.oldest_missing() == {OTHER: 0}


def test_one_missing_and_one_too_many_do_not_cancel_out() -> None:
    """The totals are equal, and the view is two off."""
    world = World(till=5)
    world.hold(TILL, 1, 2, 3, 4, 77)
    assert world.off() == {TILL: Off(1, 1, differs=False)}
    assert world.view.distance == 2
    assert world.view.shortfall(world.ledger.committed) == Shortfall(1, 1, 0)
    assert not world.view.agrees({}), "what nobody sold is wrong, whatever was waited for"


def test_another_content_is_seen_among_right_numbers() -> None:
    """One altered event of many makes its source differ, also where newer ones are still missing."""
    world = World(till=900, other=2)
    world.hold(TILL, *range(1, 800), altered=400)
    world.hold(OTHER, 1, 2)
    assert world.off() == {TILL: Off(101, 0, differs=True)}
    assert not world.view.agrees({TILL: IntervalSet([(1, 10)])})
    assert str(world.view.shortfall(world.ledger.committed)) == "lacks 101 events, other content in 1 source"
    world.hold(TILL, *range(1, 901))
    assert world.off() == {}


def test_contents_exchanged_between_sources_are_seen() -> None:
    """Each source stands for itself."""
    world = World(till=1, other=1)
    world.held.put(TILL, [(1, 1)], digest_of([content(OTHER, 1)]))
    world.held.put(OTHER, [(1, 1)], digest_of([content(TILL, 1)]))
    assert world.off() == {TILL: Off(0, 0, differs=True), OTHER: Off(0, 0, differs=True)}


def test_what_was_rejected_is_neither_missing_nor_welcome() -> None:
    """A rejected event is not waited for, and is one too many where it is held; the key of a conflict may be."""
    world = World(till=6)
    world.reject(TILL, 3)
    world.reject(TILL, 5, refused=False)
    world.hold(TILL, 1, 2, 4, 6)
    assert (world.off(), world.view.agrees(world.ledger.committed)) == ({}, True)
    world.hold(TILL, 1, 2, 4, 5, 6)
    assert world.off() == {}
    world.hold(TILL, 1, 2, 3, 4, 6)
    assert world.off() == {TILL: Off(0, 1, differs=False)}
    world.hold(TILL, 1, 2, 4)
    world.ledger.add([(TILL, 7, content(TILL, 7)), (TILL, 8, content(TILL, 8))])
    world.reject(TILL, 8)
    assert world.off() == {TILL: Off(2, 0, differs=False)}


def test_what_was_said_of_an_event_may_come_before_its_row_is_read() -> None:
    """A rejection that is known when the row comes counts."""
    world = World(till=2)
    world.reject(TILL, 1)
    world.rejected[TILL].add(3)
    world.refused[TILL].add(3)
    world.view.touch(world.ledger.add([(TILL, 3, content(TILL, 3))]))
    world.hold(TILL, 2)
    assert world.off() == {}


def test_a_view_that_begins_anew_lacks_everything() -> None:
    """Whatever it had: every source is looked at again."""
    world = World(till=4, other=2)
    world.hold(TILL, 1, 2, 3, 4)
    world.hold(OTHER, 1, 2)
    assert world.off() == {}
    world.held.begin_anew()
    assert (world.off().keys(), world.view.distance, world.view.missing) == ({TILL, OTHER}, 6, 6)
    assert not world.view.agrees(world.ledger.committed)


def test_only_what_was_needed_is_waited_for() -> None:
    """Trading goes on: what is in flight hinders nothing, and a source without anything needed neither."""
    world = World(till=9, other=4)
    world.hold(TILL, 1, 2, 3, 4, 5)
    assert world.off() == {TILL: Off(4, 0, differs=False), OTHER: Off(4, 0, differs=False)}
    assert world.view.agrees({TILL: IntervalSet([(1, 5)])})
    assert not world.view.agrees({TILL: IntervalSet([(1, 6)])})
    assert world.view.shortfall({TILL: IntervalSet([(1, 7)]), OTHER: IntervalSet([(1, 1)])}).lacks == 3


def test_a_view_that_does_not_say_its_contents() -> None:
    """It is compared by number alone."""
    world = World(till=2)
    world.held.put(TILL, [(1, 2)], None)
    assert world.off() == {}


def test_a_full_memory_compares_by_number(caplog: pytest.LogCaptureFixture) -> None:
    """Of events beyond the limit, and behind a hole in the ledger, contents are not known; that is said once."""
    ledger = LedgerContents({}, {}, event_limit=3)
    with caplog.at_level(logging.ERROR):
        ledger.add(rows(till=5))
    assert len(caplog.records) == 1
    assert ledger.digest(TILL, [(1, 3)]) == digest_of(content(TILL, number) for number in (1, 2, 3))
    assert ledger.digest(TILL, [(1, 4)]) is None
    assert ledger.compare(TILL, [(1, 5)], 7) == Off(0, 0, differs=False)
    assert ledger.compare(TILL, [(1, 3)], 7) == Off(2, 0, differs=True)
    holed = LedgerContents({}, {})
    holed.add([(TILL, number, content(TILL, number)) for number in (1, 2, 4)])
    assert holed.digest(TILL, [(1, 4)]) is None
    assert holed.compare(TILL, [(1, 4)], 7) == Off(0, 1, differs=False)


def test_sources_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that tells of more is not believed in those; they count as missing."""
    monkeypatch.setattr(module, "SOURCE_LIMIT", 1)
    held, told = Held(), HeldEvents()
    for source in (TILL, OTHER):
        told.add(source, 1, content(source, 1))
    held.hear(1, told.report(full=True)[0])
    assert len(held.intervals) == 1


def test_a_source_of_which_all_was_rejected() -> None:
    """Nothing is missing of it, and whatever is held of it is one too many."""
    world = World(till=2)
    world.reject(TILL, 1, 2)
    assert world.off() == {}
    world.hold(TILL, 2)
    assert world.off() == {TILL: Off(0, 1, differs=False)}


@given(
    st.lists(st.tuples(st.sampled_from([TILL, OTHER]), st.integers(1, 30)), max_size=80, unique=True),
    st.sets(st.integers(1, 30)),
    st.integers(0, 30),
)
def test_distances_are_those_of_plain_sets(held: list[tuple[str, int]], rejected: set[int], committed: int) -> None:
    """Whatever is held, rejected and committed in whatever order: as counted with plain sets."""
    world = World(till=committed, other=30)
    if rejected:
        world.reject(TILL, *rejected)
    told = HeldEvents()
    for number, (source, sequence) in enumerate(held):
        told.add(source, sequence, content(source, sequence))
        if number % 7 == 0:
            world.held.hear(1, told.report(full=False)[0])
            world.view.look()
    world.held.hear(1, told.report(full=False)[0])
    due = {(TILL, number) for number in range(1, committed + 1)} - {(TILL, number) for number in rejected}
    due |= {(OTHER, number) for number in range(1, 31)}
    world.view.look()
    assert world.view.missing == len(due - set(held))
    assert world.view.distance == len(due ^ set(held))


def recovery_of(world: World, view: str = "orders", **more: object) -> Recovery:
    """A wait for that view."""
    return Recovery(1_000, world.ledger.committed, {}, [], {view: world.view}, **more)  # type: ignore[arg-type]


def test_a_recovery_wants_the_contents() -> None:
    """A view full of altered events has not recovered, nor one of which nobody knows what it holds."""
    world = World(till=3)
    world.hold(TILL, 1, 2, 3, altered=2)
    recovery = recovery_of(world)
    assert not recovery.observe(1_100, {}, {})
    assert recovery.lacking() == "orders: other content in 1 source"
    world.hold(TILL, 1, 2, 3)
    assert not recovery.observe(1_200, {}, {}, {"orders": "poseidon does not answer"})
    assert recovery.lacking() == "orders: poseidon does not answer"
    assert recovery.observe(1_300, {}, {})
    assert (recovery.converged_ms, recovery.lacking()) == ({"orders": 1_300}, "")


def test_a_rebuild_in_the_midst_of_a_wait() -> None:
    """What the view held before counts for nothing any more."""
    world = World(till=3, other=1)
    world.hold(TILL, 1, 2, 3)
    recovery = recovery_of(world, "sales")
    assert not recovery.observe(1_100, {}, {})
    world.held.begin_anew()
    world.hold(OTHER, 1)
    assert not recovery.observe(1_200, {}, {})
    assert recovery.lacking() == "sales lacks 3 events"


def test_the_evidence_says_when_and_the_contents_whether() -> None:
    """To read a gateway takes time: it had what it holds when the witnesses say so; what was not read is believed."""
    world = World(till=2)
    stored = {TILL: IntervalSet([(1, 2)])}
    recovery = Recovery(0, world.ledger.committed, {"gateway": [stored]}, [], {"gateway": world.view})
    unread = {"gateway": "it is not read to its end yet"}
    assert not recovery.observe(100, {}, {}, unread)
    world.hold(TILL, 1, 2)
    assert recovery.observe(900, {}, {})
    assert recovery.converged_ms == {"gateway": 100}
    again = Recovery(0, world.ledger.committed, {"gateway": [stored]}, [], {"gateway": world.view})
    assert not again.observe(300, {}, {}, unread)
    again.believe(again.unknown)
    assert again.converged_ms == {"gateway": 300}


def test_registers_that_are_off_are_counted() -> None:
    """With the events that other views lack, in one line."""
    world = World(till=1_200)
    world.hold(TILL, *range(1, 11), 5_000, altered=3)
    recovery = Recovery(0, world.ledger.committed, {}, ["board", "inventory"], {"orders": world.view})
    assert not recovery.observe(100, {}, {"board": 1, "inventory": 2_000})
    assert recovery.lacking() == (
        "board: 1 register off; inventory: 2,000 registers off; orders lacks 1,190 events, holds 1 event that it must not"
    )
