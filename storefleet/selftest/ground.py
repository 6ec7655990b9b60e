"""The ground that anomalies are planted into: a run's facts, a random draw, and every change undone afterwards.

A change never touches a value that was there: it puts another in its place and remembers the old one. So a plant costs
what it changes, not what the run holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, MutableMapping
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.history import History, Ledger, Sets, SourceLedger, StageRecord, ViewRecord, key_text

Name = TypeVar("Name")
Value = TypeVar("Value")
ATTEMPTS: Final = 200
SET_NAMES: Final = ("taken", "handed_on", "first_taken_on_retry")


class Impossible(Exception):
    """The run has no place for this anomaly; the text says what it lacks."""


class Event(NamedTuple):
    """One event of the ledger that is as it should be."""

    source: str
    sequence: int

    @property
    def key(self) -> str:
        """Text form of its key."""
        return key_text(self.source, self.sequence)


class Ground:
    """Draws from ``random`` and changes ``history``; :meth:`undo` before the next plant."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.random = Random(0)
        self._undo: list[Callable[[], None]] = []
        sources = self.ledger.sources
        self._names = sorted(name for name, source in sources.items() if source.count)
        special = {_store(name) for name in self._names if not _is_plain(sources[name])}
        self._plain_stores = sorted({_store(name) for name in self._names} - special)

    @property
    def ledger(self) -> Ledger:
        """The run's ledger; a run without one is not taken."""
        assert self.history.ledger is not None
        return self.history.ledger

    # -- changes -------------------------------------------------------------------------------------------------

    def set(self, target: object, name: str, value: object) -> None:
        """Give an attribute another value."""
        old = getattr(target, name)
        self._undo.append(lambda: setattr(target, name, old))
        setattr(target, name, value)

    def put(self, mapping: MutableMapping[Name, Value], name: Name, value: Value) -> None:
        """Give a name another value, or its first."""
        if name in mapping:
            old = mapping[name]
            self._undo.append(lambda: mapping.__setitem__(name, old))
        else:
            self._undo.append(lambda: mapping.__delitem__(name))
        mapping[name] = value

    def undo(self) -> None:
        """Everything is as it was."""
        while self._undo:
            self._undo.pop()()

    def amend_source(self, source: str, **values: Any) -> None:
        """Change what the ledger holds of one source."""
        amended = copy.copy(self.ledger.sources[source])
        for name, value in values.items():
            setattr(amended, name, value)
        self.put(self.ledger.sources, source, amended)

    def without(self, sets: Sets, source: str, numbers: IntervalSet) -> None:
        """Take numbers out of the set of a source."""
        if source in sets:
            self.put(sets, source, sets[source].difference(numbers))

    def within(self, sets: Sets, source: str, numbers: IntervalSet) -> None:
        """Add numbers to the set of a source."""
        union = sets[source].copy() if source in sets else IntervalSet()
        union.update(numbers)
        self.put(sets, source, union)

    def put_read(self, view: ViewRecord, source: str, hashes: dict[int, bytes]) -> None:
        """Let the view hold exactly this of a source; what it shows of each, and since when, stays as it was."""
        assert view.read is not None
        numbers = sorted(hashes)
        old = view.read.get(source) or ViewRead(intervals=[], hashes=b"")
        changed = copy.copy(old)
        changed.intervals = IntervalSet((number, number) for number in numbers).to_list()
        changed.hashes = b"".join(hashes[number] for number in numbers) if any(hashes.values()) else b""
        changed.effects = _kept(old, old.effects, numbers, lambda: self.random.randbytes(HASH_BYTES))
        changed.applied_at_ms = _kept(old, old.applied_at_ms, numbers, lambda: old.applied_at_ms[-HASH_BYTES:])
        self.put(view.read, source, changed)

    def show_otherwise(self, view: ViewRecord, event: Event, row: str, value: bytes) -> None:
        """Change one event's eight bytes in a row of the view's read: ``effects`` or ``applied_at_ms``."""
        assert view.read is not None
        old = view.read[event.source]
        place = list(IntervalSet(old.intervals).numbers()).index(event.sequence) * HASH_BYTES
        changed, before = copy.copy(old), getattr(old, row)
        setattr(changed, row, before[:place] + value + before[place + HASH_BYTES :])
        self.put(view.read, event.source, changed)

    def forget(self, view: ViewRecord, event: Event) -> None:
        """The view does not hold the event, nor its part of the totals."""
        hashes = held_hashes(view, event.source)
        if event.sequence in hashes:
            del hashes[event.sequence]
            self.put_read(view, event.source, hashes)
            self._add_to_totals(view, event, -1)

    def _add_to_totals(self, view: ViewRecord, event: Event, times: int) -> None:
        entries = self.ledger.sources[event.source]
        position = entries.position(event.sequence)
        if view.totals_found is None or self.ledger.types[entries.types[position]] not in view.counted_types:
            return
        if event.sequence in entries.uncounted:
            return
        key = Terminal.parse(event.source).store_id, self.ledger.days[entries.days[position]]
        count, cents = view.totals_found.get(key, (0, 0))
        if count + times == 0:  # a day without sales has no total
            self.set(view, "totals_found", {name: total for name, total in view.totals_found.items() if name != key})
            return
        self.put(view.totals_found, key, (count + times, cents + times * entries.amounts_cents[position]))

    # -- draws ---------------------------------------------------------------------------------------------------

    def choose(self, values: list[Value], what: str) -> Value:
        """One of these; raises Impossible when there is none."""
        if not values:
            raise Impossible(f"this run has no {what}")
        return self.random.choice(values)

    def event(self, fits: Callable[[Event], bool] = lambda _: True) -> Event:
        """An event that was applied, was sent once, and that every view of events holds unaltered."""
        for _ in range(ATTEMPTS):
            source = self.choose(self._names, "events")
            entries = self.ledger.sources[source]
            event = Event(source, entries.sequence_at(self.random.randrange(entries.count)))
            if self._is_plain(event, entries) and fits(event):
                return event
        raise Impossible("this run has hardly any event that went straight through")

    def _is_plain(self, event: Event, entries: SourceLedger) -> bool:
        number = event.sequence
        special = (entries.malformed, entries.rejected, entries.attempts, entries.repeats, entries.conflicts)
        if number not in entries.applied or any(number in one for one in special):
            return False
        return all(self._holds(view, event) for view in self.event_views)

    def plain_store(self) -> str:
        """A store of which every event was applied."""
        return self.choose(self._plain_stores, "store of which every event was applied")

    @staticmethod
    def _holds(view: ViewRecord, event: Event) -> bool:
        read = (view.read or {}).get(event.source)
        return read is not None and any(first <= event.sequence <= last for first, last in read.intervals)

    @property
    def event_views(self) -> list[ViewRecord]:
        """All views of events that were read, in flow order."""
        return [view for view in self.history.views if view.holds == "events" and view.read is not None]

    def event_view(self) -> ViewRecord:
        """One of the views of events."""
        return self.choose(self.event_views, "view of events")

    def any_view(self) -> ViewRecord:
        """Any view that was read."""
        return self.choose([view for view in self.history.views if view.was_read], "view")

    def committed_ms(self, event: Event) -> int:
        """When the terminal committed it."""
        entries = self.ledger.sources[event.source]
        return entries.times_ms[entries.position(event.sequence)]

    # -- the journey ---------------------------------------------------------------------------------------------

    def stage(self, step: str) -> StageRecord:
        """The stage at a step."""
        return next(stage for stage in self.history.stages if stage.step == step)

    def path(self, step: str) -> list[StageRecord]:
        """The stages up to a step, from the first."""
        stages = {stage.step: stage for stage in self.history.stages}
        result = []
        while step in stages:
            result.append(stages[step])
            step = stages[step].after
        return result[::-1]

    def behind(self, step: str) -> list[StageRecord]:
        """The stages behind a step."""
        result: list[StageRecord] = []
        reached = {step}
        for stage in self.history.stages:  # they are in flow order
            if stage.after in reached:
                reached.add(stage.step)
                result.append(stage)
        return result

    def make_foreign(self, stage_name: str) -> None:
        """The stage is somebody else's: it has no witness. The verdict must be the same, with wider spans."""
        for stage in self.history.stages:
            if stage.stage == stage_name:
                for name in SET_NAMES:
                    self.set(stage, name, {})
                for name, value in (("foreign", True), ("witnessed", False), ("timeline", [])):
                    self.set(stage, name, value)


def held_hashes(view: ViewRecord, source: str) -> dict[int, bytes]:
    """What the view holds of a source: number -> hash (empty where the view is not read by value)."""
    read = (view.read or {}).get(source)
    if read is None:
        return {}
    numbers = list(IntervalSet(read.intervals).numbers())
    starts = range(0, len(numbers) * HASH_BYTES, HASH_BYTES)
    return {number: read.hashes[start : start + HASH_BYTES] for number, start in zip(numbers, starts, strict=True)}


def _kept(old: ViewRead, row: bytes, numbers: list[int], new: Callable[[], bytes]) -> bytes:
    """Eight bytes for each number: those that the row has for it, else new ones; nothing where there is no row."""
    if not row:
        return b""
    known = {number: place * HASH_BYTES for place, number in enumerate(IntervalSet(old.intervals).numbers())}
    return b"".join(row[known[number] : known[number] + HASH_BYTES] if number in known else new() for number in numbers)


def one(sequence: int) -> IntervalSet:
    """The set of one number."""
    return IntervalSet([(sequence, sequence)])


def _store(source: str) -> str:
    return source.rpartition(".")[0]


def _is_plain(entries: SourceLedger) -> bool:
    return entries.applied == entries.sequences and not entries.malformed and not entries.rejected
