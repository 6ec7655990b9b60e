"""What views hold, held against what terminals committed: which events are missing or too many, and what differs.

Sans-io. :class:`LedgerContents` is fed with the ledger's rows, :class:`Held` with what a view says it holds now; a
:class:`Comparison` of both looks again only at sources that changed on either side. Content is compared by the sum of
the content hashes of all that a view holds of a source: equal to the ledger's sum over the same numbers, or something
differs. The ledger's sums are kept as running totals, so that any interval's is a subtraction; that takes 8 bytes an
event, of at most EVENT_LIMIT events. What comes later is compared by its numbers alone.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fleetwire.held_events import DIGEST_MASK
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.witness import SOURCE_LIMIT, Holding

EVENT_LIMIT: Final = 50_000_000
"""400 MB; 100 events a second for 138 hours."""

Holdings = Mapping[str, IntervalSet]
"""Source -> the events of it that are held; it may grow while it is used."""

_log = logging.getLogger(__name__)
_NOTHING: Final = IntervalSet()
_NO_SUMS: Final = array("Q")
_NOT_OFF: Final = (0, 0, False)


class Off(NamedTuple):
    """How one source of a view is off: events that it lacks, and has too many; whether what it has differs in content."""

    missing: int
    strangers: int
    differs: bool


class LedgerContents:
    """What was committed, and what of it was rejected by word.

    ``rejected`` need not be held; ``refused`` must not be. Both grow while they are used: tell ``note_rejections``. A row
    of the ledger must be added before what was said of it is noted.
    """

    def __init__(self, rejected: Holdings, refused: Holdings, *, event_limit: int = EVENT_LIMIT) -> None:
        self.committed: dict[str, IntervalSet] = {}
        self._rejected = rejected
        self._refused = refused
        self._due: dict[str, IntervalSet] = {}
        """Committed and not rejected, of sources where that is not the same."""
        self._sums: dict[str, array[int]] = {}
        """At [n]: the digest of 1..n."""
        self._room = event_limit

    def add(self, rows: Iterable[tuple[str, int, bytes]]) -> set[str]:
        """Source, number and content hash of events, in the ledger's order; returns the sources."""
        touched = set()
        for source, sequence, content in rows:
            numbers = self.committed.get(source)
            if numbers is None:
                numbers = self.committed[source] = IntervalSet()
                self._sums[source] = array("Q", [0])
            touched.add(source)
            numbers.add(sequence)
            sums = self._sums[source]
            if sequence == len(sums) and self._room:  # what follows a hole has no sum
                self._spend()
                sums.append((sums[-1] + int.from_bytes(content)) & DIGEST_MASK)
            due = self._due.get(source)
            if due is not None and sequence not in self._rejected.get(source, ()):
                due.add(sequence)
        return touched

    def _spend(self) -> None:
        self._room -= 1
        if not self._room:
            _log.error("the contents of this run's first events are kept; later ones are compared by number alone")

    def note_rejections(self, sources: Collection[str]) -> None:
        """More was rejected of these."""
        for source in sources:
            committed = self.committed.get(source, _NOTHING)
            self._due[source] = committed.difference(self._rejected.get(source, _NOTHING))

    def due(self, source: str) -> IntervalSet:
        """What a view must hold of a source by now."""
        due = self._due.get(source)
        return self.committed.get(source, _NOTHING) if due is None else due

    def digest(self, source: str, intervals: Iterable[Interval]) -> int | None:
        """What the contents of these events add up to; None when they are not all known."""
        sums = self._sums.get(source)
        total = 0
        for first, last in intervals:
            if sums is None or last >= len(sums):
                return None
            total += sums[last] - sums[first - 1]
        return total & DIGEST_MASK

    def compare(self, source: str, intervals: Sequence[Interval], digest: int | None) -> Off:
        """How far off a view is that holds these numbers of a source; ``digest`` None: it does not say its contents."""
        if len(intervals) == 1 and intervals[0][0] == 1 and source not in self._due:
            sums, last = self._sums.get(source, _NO_SUMS), intervals[0][1]
            if (
                last < len(sums) == self.committed[source].last + 1
            ):  # as always: all from the first on, perhaps not yet all
                return Off(len(sums) - 1 - last, 0, differs=digest is not None and sums[last] != digest)
        due = self.due(source)
        missing = _ahead(due, intervals)
        strangers = 0
        if missing is None:
            held = IntervalSet(intervals)
            missing = due.difference(held).count
            committed = self.committed.get(source, _NOTHING)
            strangers = held.difference(committed.difference(self._refused.get(source, _NOTHING))).count
        if strangers or digest is None:
            return Off(missing, strangers, differs=False)
        ours = self.digest(source, intervals)
        return Off(missing, 0, differs=ours is not None and ours != digest)


def _ahead(due: IntervalSet, intervals: Sequence[Interval]) -> int | None:
    """The usual case: a view holds all but the newest; by how many. None for any other."""
    ours = due.to_list()
    count = len(intervals)
    if count > len(ours):
        return None
    if not count:
        return due.count
    first, last = intervals[-1]
    if first != ours[count - 1][0] or last > ours[count - 1][1] or intervals[:-1] != ours[: count - 1]:
        return None
    return ours[count - 1][1] - last + _count(ours[count:])


class Held:
    """What a view says that it holds now. ``touched``: sources that changed since somebody looked and cleared it."""

    def __init__(self) -> None:
        self.intervals: dict[str, list[Interval]] = {}
        self.digests: dict[str, int] = {}
        self.touched: set[str] = set()
        self.word = (0, 0)
        """Incarnation and epoch of the newest word."""

    def hear(self, incarnation: int, holding: Holding, *, late: bool = False) -> None:
        """Take what the view of an incarnation holds, of some sources; a newer incarnation or epoch begins with nothing.

        ``late``: a newer word of the same incarnation came first. Within an epoch a view only gains events, so of two
        words the longer is the newer. Its numbers ascend: :mod:`fleetwire.possible` lets nothing else in.
        """
        word = (incarnation, holding.epoch)
        if word < self.word:
            return
        if word > self.word:
            self.begin_anew()
            self.word = word
        for source, intervals in holding.sources.items():
            if source in self.intervals:
                if late and _count(intervals) <= _count(self.intervals[source]):
                    continue
            elif len(self.intervals) >= SOURCE_LIMIT:
                continue
            self.put(source, intervals, holding.digests.get(source))

    def put(self, source: str, intervals: list[Interval], digest: int | None) -> None:
        """All of a source; ``digest`` None: its contents are not said."""
        self.intervals[source] = intervals
        if digest is None:
            self.digests.pop(source, None)
        else:
            self.digests[source] = digest
        self.touched.add(source)

    def begin_anew(self) -> None:
        """Nothing is held any more."""
        self.touched.update(self.intervals)
        self.intervals.clear()
        self.digests.clear()


def _count(intervals: Iterable[Interval]) -> int:
    return sum(last - first + 1 for first, last in intervals)


class Shortfall(NamedTuple):
    """Why a view has not converged: events, events, sources."""

    lacks: int
    strangers: int
    differing: int

    def __str__(self) -> str:
        parts = (
            f"lacks {self.lacks:,} {_events(self.lacks)}" if self.lacks else "",
            f"holds {self.strangers:,} {_events(self.strangers)} that it must not" if self.strangers else "",
            f"other content in {self.differing:,} source{'' if self.differing == 1 else 's'}" if self.differing else "",
        )
        return ", ".join(part for part in parts if part)


def _events(count: int) -> str:
    return "event" if count == 1 else "events"


class Comparison:
    """One view of events beside the ledger. ``off``: the sources that are off, as of the last ``look``."""

    def __init__(self, ledger: LedgerContents, held: Held) -> None:
        self.ledger = ledger
        self.held = held
        self.off: dict[str, Off] = {}
        self.missing = 0
        self._wrong = 0
        self._touched: set[str] = set()

    def touch(self, sources: Collection[str]) -> None:
        """The ledger has news of these."""
        self._touched.update(sources)

    def look(self) -> None:
        """Compare again what changed. The ledger must have been read since the view was heard: it is never behind then."""
        touched = self._touched | self.held.touched
        self._touched, self.held.touched = set(), set()
        compare, intervals, digests = self.ledger.compare, self.held.intervals, self.held.digests
        for source in touched:
            off = compare(source, intervals.get(source, []), digests.get(source))
            if source in self.off:
                self._count(self.off.pop(source), -1)
            if off != _NOT_OFF:
                self.off[source] = off
                self._count(off, 1)

    def _count(self, off: Off, sign: int) -> None:
        self.missing += sign * off.missing
        self._wrong += sign * (off.strangers + off.differs)

    def oldest_missing(self) -> dict[str, int]:
        """Source that was off at the last ``look`` and still is -> the first of its events that is missing; 0: it holds what
        it must not, or something else."""
        found = {}
        for source, off in self.off.items():
            first = self._first_missing(source)
            if first or off.strangers or off.differs:
                found[source] = first
        return found

    def _first_missing(self, source: str) -> int:
        """0: none is."""
        held, due = self.held.intervals.get(source, []), self.ledger.due(source)
        if held and held[0][0] == 1 and held[0][1] + 1 in due:
            return held[0][1] + 1
        return next(due.difference(IntervalSet(held)).numbers(), 0)

    @property
    def distance(self) -> int:
        """Events missing, events too many, and one for every source whose content differs."""
        return self.missing + self._wrong

    def agrees(self, needed: Holdings) -> bool:
        """Whether the view holds all of this that was not rejected, nothing that it must not, and the right contents."""
        return not any(
            off.strangers or off.differs or (off.missing and self._lacks(source, needed))
            for source, off in self.off.items()
        )

    def shortfall(self, needed: Holdings) -> Shortfall:
        """What stands between the view and ``agrees``."""
        return Shortfall(
            sum(self._lacks(source, needed) for source, off in self.off.items() if off.missing),
            sum(off.strangers for off in self.off.values()),
            sum(off.differs for off in self.off.values()),
        )

    def _lacks(self, source: str, needed: Holdings) -> int:
        wanted = needed.get(source)
        if not wanted:
            return 0
        held = self.held.intervals.get(source, [])
        if held and held[0][0] <= 1 and wanted.last <= held[0][1]:
            return 0
        return self.ledger.due(source).intersection(wanted).difference(IntervalSet(held)).count
