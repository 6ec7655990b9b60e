"""Events under way: on which leg each is, by whatever proves it, since when, and that nothing is remembered for long."""

from __future__ import annotations

import logging
from collections.abc import Collection

import pytest

from fleetwire.intervals import IntervalSet
from storefleet.backlog import Waiting
from storefleet.under_way import OLD_MS, UnderWay, way_of

TILL = "taco.west.s0001.r01"
FAR = "pizza.east.s0002.r01"
STAGES = ("emulator", "parm", "sync_stage", "poseidon", "views")
ALL = ("parm", "sync_stage", "gateway", "poseidon", "views")
LATER_MS = 1_000_000


class World:
    """What proves how far events have come, and who looks at it."""

    def __init__(self, stages: Collection[str] = ALL, ends: Collection[str] = ("poseidon", "views")) -> None:
        self.taken: dict[str, dict[str, IntervalSet]] = {stage: {} for stage in STAGES}
        self.handed_on: dict[str, dict[str, IntervalSet]] = {stage: {} for stage in STAGES}
        self.rejected: dict[str, IntervalSet] = {}
        self.offline: set[str] = set()
        way = way_of(stages, self.taken, self.handed_on, {end: self.taken[end] for end in ends})
        self.under_way = UnderWay(way, self.rejected, lambda terminal: terminal not in self.offline, event_limit=50)

    def commit(self, source: str, first: int, last: int, *, at_ms: int = 0) -> None:
        """Events of which number n was committed n ms after ``at_ms``."""
        self.under_way.add((source, number, at_ms + number) for number in range(first, last + 1))

    def prove(self, what: dict[str, dict[str, IntervalSet]], stage: str, source: str, first: int, last: int) -> None:
        """A stage says that it has had these."""
        what[stage].setdefault(source, IntervalSet()).add_range(first, last)
        self.under_way.touch([source])

    def legs(self, until_ms: int = LATER_MS) -> dict[str, tuple[int, int]]:
        """Leg -> how many, and the oldest's time."""
        self.under_way.look(until_ms, LATER_MS)
        return {leg: tuple(waiting) for leg, waiting in self.under_way.legs().items()}


def test_every_leg_of_the_way() -> None:
    """An event is behind the farthest stage that is known to have had it; one that is through is nowhere."""
    world = World()
    world.commit(TILL, 1, 20)
    for what, stage, last in (
        (world.handed_on, "emulator", 18), (world.taken, "parm", 15), (world.handed_on, "parm", 13),
        (world.taken, "sync_stage", 10), (world.handed_on, "sync_stage", 8), (world.taken, "poseidon", 5),
        (world.taken, "views", 3),
    ):  # fmt: skip
        world.prove(what, stage, TILL, 1, last)
    expected = {"to_views": (2, 4), "to_both": (3, 6), "in_sync": (2, 9), "canonical": (3, 11), "in_parm": (2, 14),
                "raw": (3, 16), "unsent": (2, 19)}  # fmt: skip
    assert world.legs() == expected
    world.offline.add(TILL)
    world.under_way.touch([TILL])
    assert world.legs() == {**{leg: expected[leg] for leg in list(expected)[:-1]}, "kept": (2, 19)}
    world.prove(world.taken, "views", TILL, 1, 20)
    assert world.legs() == {"to_poseidon": (15, 6)}, "what lies behind proves all before"
    world.prove(world.taken, "poseidon", TILL, 6, 20)
    assert world.legs() == {}


def test_one_lost_event_among_many_keeps_its_age() -> None:
    """Whatever else flows, before and behind it, the oldest is the one that is lost; until it comes after all."""
    world = World()
    world.commit(TILL, 1, 9)
    world.commit(FAR, 1, 9, at_ms=100)
    for source in (TILL, FAR):
        for stage in ("poseidon", "views"):
            world.prove(world.taken, stage, source, 1, 4)
            world.prove(world.taken, stage, source, 6, 9)
    assert world.legs() == {"unsent": (2, 5)}
    for round_ in range(2, 30):  # more than there is room for, if what is through were kept
        first, last = 9 * round_ - 8, 9 * round_
        world.commit(TILL, first, last)
        for stage in ("poseidon", "views"):
            world.prove(world.taken, stage, TILL, first, last)
        assert world.legs() == {"unsent": (2, 5)}
    for stage in ("poseidon", "views"):
        world.prove(world.taken, stage, TILL, 5, 5)
    assert world.legs() == {"unsent": (1, 105)}


def test_what_was_committed_after_the_reports_counts_later() -> None:
    """Figures are of one moment; one that was committed 8 ms before it is 8 ms old."""
    world = World()
    world.commit(TILL, 1_000, 1_020)
    assert world.legs(999) == {}
    assert world.legs(1_010) == {"unsent": (11, 1_000)}
    assert world.under_way.lacking("views") == 21, "of these alone nobody can say how far they are"
    for stage in ("poseidon", "views"):
        world.prove(world.taken, stage, TILL, 1_000, 1_001)
        world.prove(world.taken, stage, TILL, 1_015, 1_016)
    assert world.legs(1_010) == {"unsent": (9, 1_002)}
    assert world.legs(1_020) == {"unsent": (17, 1_002)}


@pytest.mark.parametrize(("at_ms", "next_ms"), [(LATER_MS + 1, 5), (0, OLD_MS + 10)])
def test_no_event_waits_for_its_moment_for_ever(at_ms: int, next_ms: int) -> None:
    """One of a clock that was set back since counts at once, and where nobody looks for long, no more are kept."""
    world = World()
    world.under_way.add([(TILL, 1, at_ms), (FAR, 1, next_ms)])
    assert world.legs(4) == {"unsent": (1, at_ms)}


def test_what_was_rejected_is_through() -> None:
    """Its terminal has had a word that says so; also when it was the oldest."""
    world = World()
    world.commit(TILL, 1, 3)
    assert world.legs() == {"unsent": (3, 1)}
    world.rejected[TILL] = IntervalSet([(1, 1), (3, 3)])
    world.under_way.touch([TILL])
    assert world.legs() == {"unsent": (1, 2)}
    assert world.under_way.lacking("views") == world.under_way.lacking("poseidon") == 1


@pytest.mark.parametrize(
    ("stages", "ends", "through", "legs"),
    [
        (("parm", "sync_stage", "gateway", "poseidon"), ("poseidon",), ("taken", "poseidon"), {"to_poseidon": (1, 3)}),
        (("parm", "sync_stage", "gateway", "poseidon", "views"), ("views",), ("taken", "views"), {"to_views": (1, 3)}),
        (("parm", "sync_stage", "gateway"), (), ("handed_on", "sync_stage"), {"in_sync": (1, 3)}),
        (("parm",), (), ("handed_on", "parm"), {"in_parm": (1, 3)}),
        ((), (), ("handed_on", "emulator"), {"unsent": (1, 3)}),
    ],
    ids=["no views", "a foreign Poseidon", "to the gateway", "to PARM", "to the broker"],
)
def test_a_shorter_way(
    stages: tuple[str, ...], ends: tuple[str, ...], through: tuple[str, str], legs: dict[str, tuple[int, int]]
) -> None:
    """An event is through where the lab ends, or where nobody knows any more."""
    world = World(stages, ends)
    world.commit(TILL, 1, 3)
    for what in (world.taken, world.handed_on):
        for stage in STAGES:
            if stage in (*stages, "emulator") and stage not in ("poseidon", "views"):
                world.prove(what, stage, TILL, 1, 3)
    what, last = through
    sets = getattr(world, what)[last]
    sets[TILL] = IntervalSet([(1, 2)])
    assert world.legs() == legs
    sets[TILL].add(3)
    world.under_way.touch([TILL])
    assert world.legs() == {}


def test_an_end_that_begins_to_report() -> None:
    """From then on, an event is not through before this one has it, too; what was through is not asked for again."""
    world = World(ends=("views",))
    world.commit(TILL, 1, 4)
    world.prove(world.taken, "views", TILL, 1, 2)
    assert world.legs() == {"unsent": (2, 3)}
    assert world.under_way.lacking("poseidon") == 0
    ends = {end: world.taken[end] for end in ("poseidon", "views")}
    world.under_way.go_by(way_of(ALL, world.taken, world.handed_on, ends))
    world.prove(world.taken, "views", TILL, 3, 3)
    assert world.legs() == {"to_poseidon": (1, 3), "unsent": (1, 4)}
    assert (world.under_way.lacking("poseidon"), world.under_way.lacking("views")) == (2, 1)


def test_the_limit_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """More than there is room for is in no figure, which the log says; what goes through makes room."""
    world = World()
    world.commit(TILL, 1, 60)
    world.commit(FAR, 1, 60)
    assert world.legs() == {"unsent": (50, 1)}
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == ["50 events are under way: further ones are in no backlog and no lag"]
    for stage in ("poseidon", "views"):
        world.prove(world.taken, stage, TILL, 1, 60)
    assert world.legs() == {}
    world.commit(FAR, 61, 70)
    assert world.legs() == {"unsent": (10, 61)}


def test_the_oldest_is_found_among_many_that_come_and_go() -> None:
    """However often the oldest of a source changes, no more is remembered than there are sources."""
    world = World()
    world.commit(FAR, 1, 1, at_ms=90_000)
    for number in range(1, 3_000):
        world.commit(TILL, number, number)
        assert world.legs()["unsent"] == (2, number)
        for stage in ("poseidon", "views"):
            world.prove(world.taken, stage, TILL, number, number)
        assert world.legs() == {"unsent": (1, 90_001)}
    assert len(world.under_way._oldest["unsent"]) < 1_100
    assert world.under_way.legs() == {"unsent": Waiting(1, 90_001)}
