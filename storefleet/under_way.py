"""Which committed events are not through yet, on which leg of the way each is, and when the oldest of a leg was committed.

Fed with the ledger's rows and, live, with what proves how far an event has come; it looks again only at sources of which
there is news, and remembers numbers and times only of events that are not through: at most EVENT_LIMIT of them. What comes
beyond is in no figure, which is said once. Sans-io.
"""

from __future__ import annotations

import heapq
import logging
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fleetwire.intervals import IntervalSet
from storefleet.backlog import LEGS, Waiting
from storefleet.contents import Holdings

EVENT_LIMIT: Final = 1_000_000
"""At most 150 MB."""
OLD_MS: Final = 10_000
"""Who was committed so long before the newest event is looked at, however old the figures are."""
_SLACK: Final = 1_000

_log = logging.getLogger(__name__)

Row = tuple[str, int, int]
"""Source, number, when it was committed: unix milliseconds."""
Span = tuple[int, int]
"""Places in a sorted array, the second not among them."""


class Way(NamedTuple):
    """What proves how far an event has come, live."""

    ends: tuple[tuple[str, Holdings], ...]
    """An event is through when all of these have it; the name is the leg of one that only this end lacks."""
    before: tuple[tuple[str, Holdings], ...]
    """From the ends back to the terminals: leg -> what proves that an event has come as far as that."""


def way_of(
    stages: Collection[str],
    taken: Mapping[str, Holdings],
    handed_on: Mapping[str, Holdings],
    ends: Mapping[str, Holdings],
) -> Way:
    """The way of a lab of these stages. ``ends``: the last stages that say which events they have had; none: the lab ends
    where the last stage hands on."""
    steps: list[tuple[str, Holdings]] = [("raw", handed_on["emulator"])]
    if "parm" in stages:
        steps += [("in_parm", taken["parm"]), ("canonical", handed_on["parm"])]
    if "sync_stage" in stages:
        behind = "to_both" if len(ends) > 1 else f"to_{next(iter(ends), '')}"
        steps += [("in_sync", taken["sync_stage"]), (behind, handed_on["sync_stage"])]
    if ends:
        return Way(tuple((f"to_{stage}", held) for stage, held in ends.items()), tuple(reversed(steps)))
    return Way((steps[-1],), tuple(reversed(steps[:-1])))


class _Source:
    """What of one source is not through, ascending, and how it is spread over the legs."""

    __slots__ = ("legs", "numbers", "times_ms")

    def __init__(self) -> None:
        self.numbers = array("q")
        self.times_ms = array("q")
        self.legs: dict[str, Waiting] = {}


class UnderWay:
    """Give it rows with ``add``, say with ``touch`` of which sources there is news, ``look``, and ask ``legs``."""

    def __init__(
        self, way: Way, rejected: Holdings, is_online: Callable[[str], bool], *, event_limit: int = EVENT_LIMIT
    ) -> None:
        """What is ``rejected`` is through, too. ``is_online``: whether a terminal is."""
        self._way = way
        self._rejected = rejected
        self._is_online = is_online
        self._limit = event_limit
        self._full = False
        self._entering: deque[Row] = deque()
        self._sources: dict[str, _Source] = {}
        self._kept = 0
        self._touched: set[str] = set()
        self._counts = Counter[str]()
        self._oldest: dict[str, list[tuple[int, str]]] = {leg: [] for leg in LEGS}

    def go_by(self, way: Way) -> None:
        """Other stages say from now on what they have had."""
        if way != self._way:
            self._way = way
            self._touched.update(self._sources)

    def add(self, rows: Iterable[Row]) -> None:
        """Events as they were committed, each source's in the order of their numbers."""
        entering = self._entering
        for row in rows:
            if self._is_through(row):
                continue
            if len(entering) + self._kept >= self._limit:
                self._say_full()
                continue
            entering.append(row)
        if entering:
            newest_ms = entering[-1][2]
            self._enter(newest_ms - OLD_MS, newest_ms + OLD_MS)

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            _log.error("%s events are under way: further ones are in no backlog and no lag", f"{self._limit:,}")

    def touch(self, sources: Iterable[str]) -> None:
        """There is news of these: more of their events are proven, or rejected, or the terminal came or went."""
        self._touched.update(sources)

    def look(self, until_ms: int, now_ms: int) -> None:
        """Bring the figures to the moment ``until_ms``: what was committed later counts later."""
        self._enter(until_ms, now_ms)
        self._settle()

    def _settle(self) -> None:
        sources = self._sources
        for name in self._touched:
            if name in sources:
                self._look_at(name, sources[name])
        self._touched.clear()

    def legs(self) -> dict[str, Waiting]:
        """Leg -> the events on it; a leg without any is not named."""
        return {leg: Waiting(count, self._oldest_ms(leg)) for leg, count in self._counts.items() if count}

    def lacking(self, end: str) -> int:
        """How many committed events, the newest too, one of the ends has not had; 0 where it is none of them."""
        held = dict(self._way.ends).get(f"to_{end}")
        if held is None:
            return 0
        self._settle()
        others = sum(count for leg, count in self._counts.items() if leg in (f"to_{end}", *_BEFORE_THE_ENDS))
        return others + sum(number not in held.get(source, ()) for source, number, _ in self._entering)

    def _enter(self, until_ms: int, now_ms: int) -> None:
        """What was committed by then, or after now by a clock that was set back since."""
        entering, sources, touched = self._entering, self._sources, self._touched
        while entering and (entering[0][2] <= until_ms or entering[0][2] > now_ms):
            row = entering.popleft()
            if self._is_through(row):
                continue
            name, number, at_ms = row
            source = sources.get(name)
            if source is None:
                source = sources[name] = _Source()
            source.numbers.append(number)
            source.times_ms.append(at_ms)
            self._kept += 1
            touched.add(name)

    def _is_through(self, row: Row) -> bool:
        name, number, _ = row
        for _, held in self._way.ends:
            if number not in held.get(name, ()):
                return number in self._rejected.get(name, ())
        return True

    def _look_at(self, name: str, source: _Source) -> None:
        before = source.legs
        for leg, waiting in before.items():
            self._counts[leg] -= waiting.events
        spread = self._spread(name, source.numbers)
        left = sorted(span for spans in spread.values() for span in spans)
        through = len(source.numbers) - sum(end - begin for begin, end in left)
        source.legs = {leg: _waiting(source.times_ms, spans) for leg, spans in spread.items() if spans}
        for leg, waiting in source.legs.items():
            self._counts[leg] += waiting.events
            if leg not in before or before[leg].oldest_ms != waiting.oldest_ms:
                self._note_oldest(leg, waiting.oldest_ms, name)
        if not through:
            return
        self._kept -= through
        if left:
            source.numbers = _cut(source.numbers, left)
            source.times_ms = _cut(source.times_ms, left)
        else:
            del self._sources[name]

    def _spread(self, name: str, numbers: Sequence[int]) -> dict[str, list[Span]]:
        """Leg -> where the numbers on it are; those that are through are on none."""
        spread: dict[str, list[Span]] = {}
        _, left = _split(numbers, [(0, len(numbers))], self._rejected.get(name))
        ends = self._way.ends
        for number, (_, held) in enumerate(ends):
            inside, left = _split(numbers, left, held.get(name))
            for other_leg, other in ends[number + 1 :]:
                _, lacking = _split(numbers, inside, other.get(name))
                spread[other_leg] = lacking
            if number and inside:  # the last end has them, and the first does not
                spread[ends[0][0]] = inside
        for leg, held in self._way.before:
            spread[leg], left = _split(numbers, left, held.get(name))
        if left:
            spread["unsent" if self._is_online(name) else "kept"] = left
        return spread

    def _note_oldest(self, leg: str, at_ms: int, name: str) -> None:
        heap = self._oldest[leg]
        heapq.heappush(heap, (at_ms, name))
        if len(heap) > 4 * len(self._sources) + _SLACK:  # most of them hold no more
            heap[:] = [(one.legs[leg].oldest_ms, known) for known, one in self._sources.items() if leg in one.legs]
            heapq.heapify(heap)

    def _oldest_ms(self, leg: str) -> int:
        heap = self._oldest[leg]
        while True:
            at_ms, name = heap[0]
            source = self._sources.get(name)
            if source is not None and leg in source.legs and source.legs[leg].oldest_ms == at_ms:
                return at_ms
            heapq.heappop(heap)


_BEFORE_THE_ENDS: Final = frozenset(LEGS) - {"to_poseidon", "to_views"}


def _waiting(times_ms: Sequence[int], spans: Sequence[Span]) -> Waiting:
    return Waiting(sum(end - begin for begin, end in spans), min(times_ms[begin] for begin, _ in spans))


def _cut(values: array[int], spans: Iterable[Span]) -> array[int]:
    """These parts of it alone."""
    kept = array("q")
    for begin, end in spans:
        kept += values[begin:end]
    return kept


def _split(numbers: Sequence[int], spans: list[Span], held: IntervalSet | None) -> tuple[list[Span], list[Span]]:
    """The parts of these spans whose numbers are held, and the others."""
    if held is None or not spans:
        return [], spans
    inside: list[Span] = []
    outside: list[Span] = []
    for begin, end in spans:
        start = begin
        for first, last in held.overlapping(numbers[begin], numbers[end - 1]):
            low = bisect_left(numbers, first, start, end)
            high = bisect_right(numbers, last, low, end)
            if low > start:
                outside.append((start, low))
            if high > low:
                inside.append((low, high))
            start = high
        if start < end:
            outside.append((start, end))
    return inside, outside
