"""Gives a loss, a delay or an alteration its address: a place of the journey, or the span of places that is left.

Evidence downstream implies passage upstream: what a view holds, every stage on its way has had, whatever their last
snapshots say. An event is blamed on the places between its last evidence and the next party that surely lacks it:

* taken but not handed on: inside that stage;
* handed on by word but not taken: the hop between;
* between stages without a decisive witness (somebody else's, the broker, or one that died before its last snapshot):
  all places between. Missing evidence widens the span, never the verdict.

A store that is itself read at the end and lacks what its stage took has lost it, even if a reader got it before.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import unpacked_times
from storefleet.verdict.classify import by_source
from storefleet.verdict.history import (
    FOREVER_MS,
    History,
    Reading,
    Sets,
    SourceLedger,
    StageRecord,
    ViewRecord,
    key_text,
    path_to,
)
from storefleet.verdict.lateness import Readings, applied_until
from storefleet.verdict.result import KEY_LIMIT

Address = tuple[str, ...]
"""Names of hops and stages in flow order; one name = decided, more = one of these."""


@dataclass(slots=True)
class Point:
    """A place where evidence is possible. ``may`` None: absence there proves nothing."""

    places_before: Address
    has: IntervalSet = field(default_factory=IntervalSet)
    may: IntervalSet | None = None
    store: bool = False
    """The final read of a stage's own store: it must still hold what passed."""

    def surely_lacks(self, members: IntervalSet) -> IntervalSet:
        """Which of these were never here."""
        return IntervalSet() if self.may is None else members.difference(self.may)


def blame(chain: list[Point], missing: IntervalSet) -> dict[Address, IntervalSet]:
    """Share out what is missing at the end of a chain among addresses; every number gets exactly one."""
    result: dict[Address, IntervalSet] = {}
    rest = missing
    for end, point in enumerate(chain):
        if not point.store:
            continue
        gone = point.surely_lacks(rest)
        _share_out(chain[: end + 1], gone, result)
        rest = rest.difference(gone)
    _share_out(chain, rest, result)
    return result


def _share_out(chain: list[Point], missing: IntervalSet, result: dict[Address, IntervalSet]) -> None:
    """Evidence from the end backwards; behind the last of it the span up to the first that surely lacks it."""
    rest = missing
    for index in range(len(chain) - 2, -1, -1):
        here = rest if index == 0 else rest.intersection(chain[index].has)
        if here:
            _forward(chain, index, here, result)
            rest = rest.difference(here)


def _forward(chain: list[Point], index: int, members: IntervalSet, result: dict[Address, IntervalSet]) -> None:
    places: Address = ()
    for number in range(index + 1, len(chain)):
        places += chain[number].places_before
        lacking = members if number == len(chain) - 1 else chain[number].surely_lacks(members)
        if lacking:
            result.setdefault(places, IntervalSet()).update(lacking)
            members = members.difference(lacking)


@dataclass(slots=True, frozen=True)
class Values:
    """View -> source -> what it holds with another content than the ledger's."""

    wrong: dict[str, Sets]


class Evidence:
    """All witnesses and final reads of a history, by place, ready to be asked about one source at a time."""

    def __init__(self, history: History) -> None:
        self._stages = {stage.step: stage for stage in history.stages}
        self._behind: dict[str, list[str]] = {step: [] for step in self._stages}
        for stage in history.stages:
            if stage.after in self._behind:
                self._behind[stage.after].append(stage.step)
        self._views = [view for view in history.views if view.holds == "events" and view.read is not None]
        self._until_ms = FOREVER_MS if history.told_until_ms is None else history.told_until_ms
        self._timelines: dict[str, tuple[dict[str, Readings], dict[str, Readings]]] = {}

    def path(self, step: str) -> list[StageRecord]:
        """The stages from the first to this one."""
        return path_to(self._stages, step)

    def found(self, view: ViewRecord, source: str) -> IntervalSet:
        """What the final read of a view holds of a source, as it was when the first view was asked."""
        read = (view.read or {}).get(source)
        return applied_until(read, self._until_ms) if read else IntervalSet()

    def arrived(self, source: str, ledger: SourceLedger) -> IntervalSet:
        """What is applied by word, or held by any view."""
        result = ledger.applied.copy()
        for view in self._views:
            result.update(self.found(view, source))
        return result

    def passed(self, step: str, source: str) -> IntervalSet:
        """What surely came to a step: by its own witness, else by an acknowledgement, and by all evidence behind."""
        stage = self._stages[step]
        result = _of(stage.taken, source).copy()
        result.update(self.left(step, source))
        if stage.after in self._stages and not stage.taken:
            result.update(_of(self._stages[stage.after].handed_on, source))
        for view in self._views:
            if view.step == step:
                result.update(self.found(view, source))
        return result

    def left(self, step: str, source: str) -> IntervalSet:
        """What surely left a step: handed on by word, or seen behind it."""
        result = _of(self._stages[step].handed_on, source).copy()
        for behind in self._behind[step]:
            result.update(self.passed(behind, source))
        for view in self._views:
            if view.step == step and view.hop:
                result.update(self.found(view, source))
        return result

    def chain(self, view: ViewRecord, source: str, ledger: SourceLedger) -> list[Point]:
        """All points on the way to a view, for what is missing there at the end."""
        points = [Point((), ledger.sequences, ledger.sequences)]
        waiting: Address = ()
        for stage in self.path(view.step):
            if stage.hop_before:
                points.append(self._taken(stage, source, (*waiting, stage.hop_before), ledger))
                waiting = ()
            waiting = (*waiting, stage.stage)
            if stage.step == view.step and not view.hop:
                break
            for own in self._views:
                if own.step == stage.step and not own.hop and own is not view and not own.types:
                    held = self.found(own, source)
                    points.append(Point(waiting, held, held, store=stage.step != view.step or bool(view.hop)))
                    waiting = ()
            points.append(self._handed_on(stage, source, waiting, ledger))
            waiting = ()
        end = (*waiting, view.hop, view.view) if view.hop else waiting
        points.append(Point(end, self.found(view, source), self.found(view, source)))
        return points

    def _taken(self, stage: StageRecord, source: str, places: Address, ledger: SourceLedger) -> Point:
        has = self.passed(stage.step, source)
        decisive = stage.witnessed and bool(stage.taken)
        return Point(places, has, _undecided(has, stage.undecided_until_ms, ledger) if decisive else None)

    def _handed_on(self, stage: StageRecord, source: str, places: Address, ledger: SourceLedger) -> Point:
        has = self.left(stage.step, source)
        decisive = stage.witnessed and bool(stage.handed_on) and bool(stage.hop_before)
        return Point(places, has, _undecided(has, stage.undecided_until_ms, ledger) if decisive else None)

    def chain_at(self, view: ViewRecord, source: str, ledger: SourceLedger, at_ms: int) -> list[Point]:
        """The points on the way to a view as they were at a moment, for what was late there."""
        points = [Point((), ledger.sequences, ledger.sequences)]
        for stage in self.path(view.step):
            if stage.hop_before:
                point = _at(self._timeline(stage)[0].get(source), at_ms, (stage.hop_before,))
                if not stage.witnessed:
                    point.has = points[-1].has  # by acknowledgement
                points.append(point)
            if stage.step == view.step and not view.hop:
                points.append(Point((stage.stage,)))
                return points
            points.append(_at(self._timeline(stage)[1].get(source), at_ms, (stage.stage,)))
        points.append(Point((view.hop, view.view)))
        return points

    def _timeline(self, stage: StageRecord) -> tuple[dict[str, Readings], dict[str, Readings]]:
        """What the stage had taken and handed on when, by source."""
        found = self._timelines.get(stage.step)
        if found is None:
            handed_on = [Reading(reading.at_ms, reading.handed_on) for reading in stage.timeline]
            found = self._timelines[stage.step] = by_source(stage.timeline), by_source(handed_on)
        return found

    def value_chain(self, view: ViewRecord, source: str, altered: IntervalSet, values: Values) -> list[Point]:
        """The points on the way to a view where the content is known: stores and views that are read by value."""
        points = [Point((), altered, altered)]
        places: Address = ()
        for stage in self.path(view.step):
            places += (stage.hop_before, stage.stage) if stage.hop_before else (stage.stage,)
            if stage.step == view.step and not view.hop:
                break
            wrong = IntervalSet()
            for own in self._views:
                if own.step == stage.step and not own.hop:
                    wrong.update(_of(values.wrong.get(own.view, {}), source))
            points.append(Point(places, self._right(stage.step, source, values), altered.difference(wrong)))
            places = ()
        points.append(Point((*places, view.hop, view.view) if view.hop else places))
        return points

    def _right(self, step: str, source: str, values: Values) -> IntervalSet:
        """What is unaltered in any view at this step or behind it."""
        result = IntervalSet()
        for view in self._views:
            if view.step == step and (view.read or {}).get(source):
                wrong = _of(values.wrong.get(view.view, {}), source)
                by_value = bool((view.read or {})[source].hashes)
                result.update(self.found(view, source).difference(wrong) if by_value else IntervalSet())
        for behind in self._behind[step]:
            result.update(self._right(behind, source, values))
        return result

    def origin(self, view: ViewRecord, source: str, members: IntervalSet) -> dict[Address, IntervalSet]:
        """Where events came in that nobody sent: behind the last witness without them, up to the first with them."""
        result: dict[Address, IntervalSet] = {}
        places: Address = ()
        for stage in self.path(view.step):
            for decisive, here, sets in self._marks(stage):
                places += here
                seen = members.intersection(_of(sets, source))
                if seen:
                    result.setdefault(places, IntervalSet()).update(seen)
                    members = members.difference(seen)
                places = () if decisive else places
        places += (view.hop, view.view) if view.hop else ()
        if members:
            result[places or self._end(view)] = members
        return result

    def _marks(self, stage: StageRecord) -> list[tuple[bool, Address, Sets]]:
        """Both points of a stage: whether its witness decides, the places before it, what it saw."""
        decides = stage.witnessed and not stage.undecided_until_ms  # nobody knows when an invented event came
        taken = decides and bool(stage.taken)
        handed_on = decides and bool(stage.handed_on)
        hop = (stage.hop_before,) if stage.hop_before else ()
        return [(taken and bool(hop), hop, stage.taken), (handed_on, (stage.stage,), stage.handed_on)]

    def _end(self, view: ViewRecord) -> Address:
        stage = self._stages.get(view.step)
        return (view.view,) if view.hop or stage is None else (stage.stage,)


def _of(sets: Sets, source: str) -> IntervalSet:
    return sets.get(source) or IntervalSet()


def _undecided(has: IntervalSet, until_ms: int, ledger: SourceLedger) -> IntervalSet:
    """What may have been here: what was, and all that was committed before a snapshot that never came."""
    if not until_ms:
        return has
    count = bisect_right(ledger.times_ms, until_ms)
    if not count:
        return has
    result = has.copy()
    result.add_range(1, ledger.sequence_at(count - 1))
    return result


def _at(readings: Readings | None, at_ms: int, places: Address) -> Point:
    """What the readings prove about a moment: the last before says what was there, the first after what was not."""
    if not readings:
        return Point(places)
    index = bisect_right(readings, at_ms, key=lambda reading: reading[0])
    has = IntervalSet(readings[index - 1][1]) if index else IntervalSet()
    exact = index and readings[index - 1][0] == at_ms
    later = readings[index - 1] if exact else readings[index] if index < len(readings) else None
    return Point(places, has, IntervalSet(later[1]) if later else None)


@dataclass(slots=True)
class Attempts:
    """The account of attempts: address -> events that a re-send healed there, and the others that were sent again.

    ``needless``: nothing had needed that. ``not_known``: the first sending may have been lost before a stage, or with an
    incarnation of it that died without a word.
    """

    healed: dict[Address, int] = field(default_factory=dict)
    keys: dict[Address, list[str]] = field(default_factory=dict)
    """The first KEY_LIMIT at each."""
    healed_from_ms: int = 0
    healed_until_ms: int = 0
    """When the first and the last of them were committed; 0: there are none."""
    needless: int = 0
    not_known: int = 0


def healed(history: History) -> Attempts:
    """Account for every event that was sent more than once and has arrived.

    The most upstream stage that took an event first on a retry says that an earlier sending did not come so far; the
    stage before it that took it on the first sending says that it came that far. What has not arrived to this day was
    healed by nothing, and its re-sends were not needless either. Whether a stage took it on a retry is what the message
    says of itself, so what a view on the way had applied before it was sent again came that far at the first sending,
    whatever is said behind that.
    """
    evidence = Evidence(history)
    result = Attempts()
    leaves = [stage for stage in history.stages if not any(s.after == stage.step for s in history.stages)]
    paths = [evidence.path(leaf.step) for leaf in leaves]
    for source, ledger in (history.ledger.sources if history.ledger else {}).items():
        arrived = evidence.arrived(source, ledger) if ledger.attempts else ()
        early = [(view.step, _applied_before_resent(view, source, ledger)) for view in history.views if arrived]
        for sequence in ledger.attempts:
            if sequence in arrived:
                came = {step for step, numbers in early if sequence in numbers}
                on_way = [path for path in paths if not any(stage.step in came for stage in path)]
                address = _account(result, [_healed_at(path, source, sequence) for path in on_way])
                if address is not None:
                    _note(result, address, key_text(source, sequence), ledger.times_ms[ledger.position(sequence)])
    return result


def _applied_before_resent(view: ViewRecord, source: str, ledger: SourceLedger) -> set[int]:
    read = (view.read or {}).get(source)
    if read is None or view.hop or not read.applied_at_ms or not ledger.resent_ms:
        return set()
    applied = zip(IntervalSet(read.intervals).numbers(), unpacked_times(read.applied_at_ms), strict=True)
    return {number for number, at_ms in applied if at_ms < ledger.resent_ms.get(number, -1)}


def _account(result: Attempts, found: list[Address | None]) -> Address | None:
    """Enter one event that was sent again; returns where it was healed, if it was."""
    address = next((address for address in found if address), None)
    if address is not None:
        result.healed[address] = result.healed.get(address, 0) + 1
    elif () in found:
        result.not_known += 1
    else:
        result.needless += 1
    return address


def _note(result: Attempts, address: Address, key: str, at_ms: int) -> None:
    if len(keys := result.keys.setdefault(address, [])) < KEY_LIMIT:
        keys.append(key)
    result.healed_from_ms = min(at_ms, result.healed_from_ms or at_ms)
    result.healed_until_ms = max(at_ms, result.healed_until_ms)


def _healed_at(path: list[StageRecord], source: str, sequence: int) -> Address | None:
    """Where the first sending was lost; () where that is not known, None where it was not lost."""
    places: Address = ()
    for stage in path:
        if stage.hop_before:
            places += (stage.hop_before,)
        if sequence in _of(stage.first_taken_on_retry, source):
            return places
        if sequence in _of(stage.retry_undecided, source):
            return ()
        if stage.hop_before and stage.witnessed and sequence in _of(stage.taken, source):
            places = ()
        if stage.hop_before:
            places += (stage.stage,)
    return None
