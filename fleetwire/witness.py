"""What one incarnation of one instance of a stage has seen; the lab's checker takes the union over all of them.

A witness only grows, so a late or missing snapshot can understate what a stage saw, never overstate it. Snapshots carry
only the sources that changed since the one before, each with its whole set, so that a lost one heals with the next full
one. The journey ring keeps the last 20,000 events' times for ``storefleet trace``; it forgets the oldest first.

Anybody may publish under any source, so a witness has room for 200,000 sources, 6,000,000 characters of their names and
250,000 intervals in each of its sets, and for 200,000 registers a view. What finds no room is counted in
``unnoted_total``; from then on the witness proves what it holds, and not that anything else did not pass.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from fleetwire.intervals import Interval, IntervalSet
from fleetwire.troubles import DETAIL_CHARACTERS, TROUBLES

if TYPE_CHECKING:
    from fleetwire.held_events import HeldEvents

JOURNEY_LIMIT: Final = 20_000
SOURCE_LIMIT: Final = 200_000
NAME_LIMIT: Final = 6_000_000
INTERVAL_LIMIT: Final = 250_000
"""An event that was rejected leaves a hole: with one in a hundred, at 100 events a second, there is room for 69 hours.

A full snapshot is one control line of at most 100 MB (``control.LINE_LIMIT``). An interval of 16-digit numbers takes 36
bytes there, a source its name and 6: 250,000 * 36 + 6,000,000 + 200,000 * 6 = 16.2 MB a set, 48.6 MB for the three; what
a view holds takes as much again, and its digests a name and 24 bytes a source: 27 MB. The other 24 MB are for registers;
when those do not fit, the sets go without them.
"""
REGISTER_LIMIT: Final = 200_000
SET_NAMES: Final = ("taken", "handed_on", "first_taken_on_retry")

SourceSets = dict[str, list[Interval]]

_log = logging.getLogger(__name__)


class Snapshot(Struct, kw_only=True):
    """One report of a witness. Times are unix milliseconds of the stage's own host clock."""

    stage: str
    instance: int
    incarnation: int
    at_ms: int
    number: int = 0
    """Counts the snapshots of an incarnation from 1, so that a late one is known for late; 0: not said."""
    taken: SourceSets = field(default_factory=dict)
    handed_on: SourceSets = field(default_factory=dict)
    first_taken_on_retry: SourceSets = field(default_factory=dict)
    duplicates_absorbed: int = 0
    unnoted_total: int = 0
    """What found no room in this witness, or no way to the lab: it proves no absence any more when this is not 0."""
    rejects: dict[str, int] = field(default_factory=dict)
    """Dead letters by reason (:data:`fleetwire.reasons.REASONS`)."""
    counters: dict[str, float] = field(default_factory=dict)
    """The stage's own figures, by name with unit, e.g. ``taken_total``, ``backlog``, ``lag_ms``."""
    state: dict[str, object] = field(default_factory=dict)
    """Registers by view that changed since the last snapshot, e.g. ``{"store_board": {"taco.west.s0001": "OPEN"}}``."""
    loop_stall_ms: float = 0.0
    """Longest time since the last snapshot during which the stage's event loop did not run."""
    holdings: dict[str, Holding] = field(default_factory=dict)
    """By view of events: what it holds now, of the sources that changed since the last snapshot. Of a view of registers
    (``state``) its epoch alone."""
    troubles: dict[str, str] = field(default_factory=dict)
    """All that is wrong with the stage now: code (:data:`fleetwire.troubles.TROUBLES`) -> the particulars, one line."""


class Holding(Struct, kw_only=True):
    """What a view holds at present, which is not what its stage has ever seen.

    ``epoch`` counts how often the view began anew within this incarnation (a rebuild): what an earlier epoch or incarnation
    held is not held any more unless this one says so. ``digests``: by source, the sum of the content hashes of all that
    is held, each read as a big-endian number, modulo 2**64.
    """

    epoch: int = 0
    sources: SourceSets = field(default_factory=dict)
    digests: dict[str, int] = field(default_factory=dict)


class Step(Struct, kw_only=True):
    """What a stage did with one event; ``handed_on_ms`` 0 means not (yet)."""

    taken_ms: int
    handed_on_ms: int = 0
    attempt: int = 1
    did: str = ""


class BoundedSets(dict[str, IntervalSet]):
    """Interval sets by source, with room for SOURCE_LIMIT sources, NAME_LIMIT characters, INTERVAL_LIMIT intervals."""

    __slots__ = ("_characters", "_intervals")

    def __init__(self) -> None:
        super().__init__()
        self._characters = 0
        self._intervals = 0

    def add(self, source: str, sequence: int) -> bool | None:
        """Enter a number; False when it is there already, None when there is no room for it."""
        seen = self.get(source)
        if seen is None:
            if self._intervals >= INTERVAL_LIMIT or not self._admits(source):
                return None
            seen = self._begin(source)
        elif self._intervals >= INTERVAL_LIMIT and not seen.touches(sequence):
            return None
        before = len(seen)
        fresh = seen.add(sequence)
        self._intervals += len(seen) - before
        return fresh

    def unite(self, source: str, numbers: IntervalSet) -> bool:
        """Enter all these numbers; False when there is no room for them."""
        seen = self.get(source)
        if self._intervals + len(numbers) > INTERVAL_LIMIT or (seen is None and not self._admits(source)):
            return False
        if seen is None:
            seen = self._begin(source)
        before = len(seen)
        seen.update(numbers)
        self._intervals += len(seen) - before
        return True

    def _admits(self, source: str) -> bool:
        return len(self) < SOURCE_LIMIT and self._characters + len(source) <= NAME_LIMIT

    def _begin(self, source: str) -> IntervalSet:
        self._characters += len(source)
        seen = self[source] = IntervalSet()
        return seen


class Witness:
    """The interval sets and counts of this process; cheap enough to be called for every event."""

    def __init__(self) -> None:
        self.taken = BoundedSets()
        self.handed_on = BoundedSets()
        self.first_taken_on_retry = BoundedSets()
        self.unnoted_total = 0
        self._full = False
        self.duplicates_absorbed = 0
        self.rejects: Counter[str] = Counter()
        self.counters: dict[str, float] = {"taken_total": 0, "handed_on_total": 0}
        self._snapshots = 0
        self._changed: set[str] = set()
        self._state: dict[str, dict[str, object]] = {}
        self._state_changed: dict[str, set[str]] = {}
        self._register_epochs: dict[str, int] = {}
        self._held: dict[str, HeldEvents] = {}
        self._troubles: dict[str, dict[str, str]] = {}
        """Code -> part of the stage that it concerns -> the particulars."""
        self._journeys: OrderedDict[tuple[str, int], Step] = OrderedDict()

    def report_held(self, view: str, held: HeldEvents) -> None:
        """Every snapshot tells from now on what this view holds by then."""
        self._held[view] = held

    def take(self, source: str, sequence: int, attempt: int = 1) -> bool:
        """The stage received this event; False when it had received it before."""
        self.counters["taken_total"] += 1
        fresh = self.taken.add(source, sequence)
        if fresh is None:
            self.leave_unnoted(f"no room for {source}.{sequence}")
            return True
        if not fresh:
            self.duplicates_absorbed += 1
            return False
        self._changed.add(source)
        if attempt > 1 and self.first_taken_on_retry.add(source, sequence) is None:
            self.leave_unnoted(f"no room for {source}.{sequence}")
        self._journeys[source, sequence] = Step(taken_ms=time.time_ns() // 1_000_000, attempt=attempt)
        if len(self._journeys) > JOURNEY_LIMIT:
            self._journeys.popitem(last=False)
        return True

    def hand_on(self, source: str, sequence: int, did: str = "") -> None:
        """The next party has it by its own word (PUBACK, HTTP 201, commit)."""
        self.counters["handed_on_total"] += 1
        fresh = self.handed_on.add(source, sequence)
        if fresh is None:
            self.leave_unnoted(f"no room for {source}.{sequence}")
        elif fresh:
            self._changed.add(source)
        step = self._journeys.get((source, sequence))
        if step is not None and not step.handed_on_ms:
            step.handed_on_ms = time.time_ns() // 1_000_000
            step.did = did

    def resume(self, known: dict[str, IntervalSet], *, handed_on: bool = True) -> None:
        """What earlier incarnations have on disk counts as taken, and as handed on, by this one too."""
        for source, numbers in known.items():
            self._changed.add(source)
            for sets in (self.taken, self.handed_on) if handed_on else (self.taken,):
                if not sets.unite(source, numbers):
                    self.leave_unnoted(f"no room for {numbers.count} events of {source}")

    def leave_unnoted(self, why: str) -> None:
        """Something finds no room: counted each time, said once."""
        if not self._full:
            self._full = True
            _log.error(
                "this witness is full: %s; its room is %d sources of %d characters, %d intervals, %d registers; more is"
                " counted only, and the verdict says so",
                why,
                SOURCE_LIMIT,
                NAME_LIMIT,
                INTERVAL_LIMIT,
                REGISTER_LIMIT,
            )
        self.unnoted_total += 1

    def leave_unsent(self, snapshot: Snapshot, why: str) -> None:
        """This snapshot could not be sent: its sources come with the next one, its registers when they change again.

        It is the registers that made it too long (see INTERVAL_LIMIT), so the next one is shorter.
        """
        _log.error("a snapshot is not sent: %s; its registers are missing in the live figures", why)
        self.unnoted_total += 1
        for name in SET_NAMES:
            self._changed.update(getattr(snapshot, name))
        for view, held in self._held.items():
            held.change_again(snapshot.holdings[view].sources)

    def reject(self, reason: str, source: str, sequence: int, did: str = "") -> None:
        """The stage put it into a dead letter. ``sequence`` 0: the message had no usable key."""
        self.rejects[reason] += 1
        step = self._journeys.get((source, sequence))
        if step is not None:
            step.did = did or f"rejected: {reason}"

    def register(self, view: str, name: str, value: object) -> None:
        """A register of a view has this value now; it goes out with the next snapshot."""
        registers = self._state.setdefault(view, {})
        if name not in registers and len(registers) >= REGISTER_LIMIT:
            self.leave_unnoted(f"no room for register {name} of {view}")
            return
        registers[name] = value
        self._state_changed.setdefault(view, set()).add(name)

    def begin_registers(self, view: str) -> None:
        """A view of registers begins anew: what it has now is told after this, and nothing else is there."""
        self._register_epochs[view] = self._register_epochs.get(view, 0) + 1
        self._state.pop(view, None)
        self._state_changed.pop(view, None)

    def begin_trouble(self, code: str, detail: str, part: str = "") -> None:
        """This is wrong from now on with a part of the stage ('' for all of it); every snapshot tells of it."""
        assert code in TROUBLES, f"{code!r} is no trouble of fleetwire.troubles"
        self._troubles.setdefault(code, {})[part] = detail

    def end_trouble(self, code: str, part: str = "") -> None:
        """It is right again, or was all the time."""
        parts = self._troubles.get(code)
        if parts is not None:
            parts.pop(part, None)
            if not parts:
                del self._troubles[code]

    def journey(self, source: str, sequence: int) -> Step | None:
        """What happened to one event here, if it is recent."""
        return self._journeys.get((source, sequence))

    def journeys(self) -> dict[str, Step]:
        """All that the ring remembers, by key text."""
        return {f"{source}.{sequence}": step for (source, sequence), step in self._journeys.items()}

    def snapshot(self, stage: str, instance: int, incarnation: int, *, full: bool, loop_stall_ms: float) -> Snapshot:
        """What changed since the last snapshot of changes, or everything.

        Only a snapshot of changes begins the next one: a full one may be lost or late without taking anything from it.
        """
        self._snapshots += 1
        holdings = {view: Holding(epoch=epoch) for view, epoch in self._register_epochs.items()}
        holdings.update((view, self._holding(view, held, full=full)) for view, held in self._held.items())
        sources = self._sources() if full else self._changed
        result = Snapshot(
            stage=stage,
            instance=instance,
            incarnation=incarnation,
            at_ms=time.time_ns() // 1_000_000,
            number=self._snapshots,
            taken=_lists(self.taken, sources),
            handed_on=_lists(self.handed_on, sources),
            first_taken_on_retry=_lists(self.first_taken_on_retry, sources),
            duplicates_absorbed=self.duplicates_absorbed,
            unnoted_total=self.unnoted_total,
            rejects=dict(self.rejects),
            counters={name: float(value) for name, value in self.counters.items()},
            state=self._state_report(full=full),
            loop_stall_ms=round(loop_stall_ms, 1),
            holdings=holdings,
            troubles={code: "; ".join(parts.values())[:DETAIL_CHARACTERS] for code, parts in self._troubles.items()},
        )
        if not full:
            self._changed = set()
            self._state_changed = {}
        return result

    def _holding(self, view: str, held: HeldEvents, *, full: bool) -> Holding:
        holding, left_out = held.report(full=full)
        if left_out:
            self.leave_unnoted(f"no room for what {view} holds of {left_out:,} sources")
        return holding

    def _sources(self) -> set[str]:
        return self.taken.keys() | self.handed_on.keys() | self.first_taken_on_retry.keys()

    def _state_report(self, *, full: bool) -> dict[str, object]:
        if full:
            return {view: dict(registers) for view, registers in self._state.items()}
        return {view: {name: self._state[view][name] for name in names} for view, names in self._state_changed.items()}


def _lists(sets: dict[str, IntervalSet], sources: set[str]) -> SourceSets:
    return {source: sets[source].to_list() for source in sources if source in sets}


class ViewRead(Struct, kw_only=True):
    """The final read of one view for one source: which events it holds, and what each says.

    ``hashes`` are the 8-byte content hashes of all numbers in ``intervals``, ascending (in JSON: base64). ``repeated`` lists
    ``[sequence, times]`` for every event whose effect the view holds more than once. ``others`` lists
    ``[sequence, hash]`` for every further content that was seen under an event's key.
    """

    intervals: list[Interval]
    hashes: bytes
    repeated: list[tuple[int, int]] = field(default_factory=list)
    effects: bytes = b""
    """Of a view that shows what events do: for each of them the 8-byte hash of what it shows; empty: it shows nothing."""
    applied_at_ms: bytes = b""
    """When each was applied, unix milliseconds, 8 bytes each, little-endian; empty: the view does not say."""
    others: list[tuple[int, bytes]] = field(default_factory=list)
