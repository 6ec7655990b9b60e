"""Which events came to a view later than the deadline allows, to the event where the view itself says when it applied them.

An event has its deadline from its commit on, or from the calm on (the lab up, the faults lifted) where that is later. There
are two kinds of proof, both by the host's clock, or by the run's where that was set (:mod:`storefleet.verdict.host_clock`):

* **times**: the view says when it applied what it holds, so every event is judged alone, unless it was committed before
  the view began anew: then it was held before, and how long the view took to read it again is its recovery, no lateness;
* **readings**: what a stage had seen at a moment; what was overdue then and not seen is late. Readings come about once a
  second, so a lateness shorter than that beyond the deadline may not be proven by them. They speak where a view gives no
  times, or some that cannot be, and of what a view held before it began anew.

A run whose lab died and was taken up again has a span of calm in each life, and a moment is measured by the one that it lies
in: what a life has proven late stays late. The time between two lives makes nothing late: what was committed before a death
has its whole deadline again in the next life, from when that is calm.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from operator import sub
from typing import Final

from fleetwire.intervals import Interval, IntervalSet
from fleetwire.packed_times import END_OF_TIME_MS, packed_times, unpacked_times
from fleetwire.witness import ViewRead
from storefleet.verdict.history import FOREVER_MS, SourceLedger, ViewRecord
from storefleet.verdict.host_clock import SMALLEST_STEP_MS, HostClock

MOMENT_MS: Final = 1_000
"""Deadlines that pass within so long are looked at together: readings are no finer."""
Readings = list[tuple[int, list[Interval]]]
_NO_TIME: Final = 2**64 - END_OF_TIME_MS
_ONE: Final = (1).to_bytes(8, "little")
Limit = Callable[[int], int]
"""Moment -> what began its deadline before the result was overdue at that moment; unix milliseconds."""


def plain_limit(view: ViewRecord) -> Limit:
    """The deadline by the clock, whatever the machine did."""
    deadline_ms = int(view.deadline_s * 1000)
    return lambda at_ms: at_ms - deadline_ms


def all_in_time(view: ViewRecord, committed_at_ms: bytes, applied_at_ms: bytes) -> bool:
    """Whether events of these packed times all came in time, and none before its commit; False: it takes a look at each.

    All times are compared as one long number in which each has 64 bits: of what is left of each deadline, and of what has
    passed of it, a bit far above all times is gone where it is less than nothing.
    """
    deadline_ms = int(view.deadline_s * 1000)
    if _began_anew(view) or view.clock_steps or not 0 <= deadline_ms < END_OF_TIME_MS:
        return False
    if len(committed_at_ms) != len(applied_at_ms):
        return False
    committed, applied = (int.from_bytes(times_ms, "little") for times_ms in (committed_at_ms, applied_at_ms))
    ones = int.from_bytes(_ONE * (len(applied_at_ms) // len(_ONE)), "little")
    marks = ones << 62
    no_times = (committed | applied) & (ones * _NO_TIME)
    left, passed = committed + ones * deadline_ms - applied, applied + ones * SMALLEST_STEP_MS - committed
    return not no_times and (left + marks) & marks == marks == (passed + marks) & marks


def late(view: ViewRecord, ledger: SourceLedger, read: ViewRead, readings: Readings, limit: Limit) -> IntervalSet:
    """What the view holds, or its stage was seen to hold, too late; without readings and times nothing is."""
    result = late_by_times(view, ledger, read, limit)
    if not readings or not needs_readings(view, ledger, read):
        return result
    clock = HostClock(view.clock_steps)
    if clock.was_set:
        ledger = replace(ledger, times_ms=clock.rising(ledger.times_ms))
    for host_ms, seen in readings:
        at_ms = clock.earliest_ms(host_ms)
        result.update(overdue(view, ledger, seen, at_ms=at_ms, limit_ms=limit(at_ms)))
    return result


def needs_readings(view: ViewRecord, ledger: SourceLedger, read: ViewRead) -> bool:
    """Whether the view's own times of application do not tell all."""
    return not read.applied_at_ms or _began_anew(view) or is_mistimed(view, ledger, read)


def is_mistimed(view: ViewRecord, ledger: SourceLedger, read: ViewRead) -> bool:
    """Whether the view says that it applied something before it was committed: then its times prove nobody punctual."""
    return any(
        min(map(sub, applied, committed)) < -SMALLEST_STEP_MS for _, committed, applied in _pieces(view, ledger, read)
    )


def punctual_at_a_glance(view: ViewRecord, sources: Mapping[str, SourceLedger]) -> set[str]:
    """The sources of which the view holds just what the ledger has, if the times of them all are right: the usual case."""
    timed = {
        name: read.applied_at_ms
        for name, read in (view.read or {}).items()
        if read.applied_at_ms and name in sources and read.intervals == sources[name].sequences.to_list()
    }
    committed = b"".join(packed_times(sources[name].times_ms) for name in timed)
    return set(timed) if all_in_time(view, committed, b"".join(timed.values())) else set()


def _began_anew(view: ViewRecord) -> bool:
    """Whether it took in again, by times of its own, what it had held before."""
    earliest_ms = view.earliest_calm_ms
    return earliest_ms is not None and view.begun_at_ms > earliest_ms


def late_by_times(view: ViewRecord, ledger: SourceLedger, read: ViewRead, limit: Limit) -> IntervalSet:
    """What was overdue when the view applied it, by the view's own word."""
    result = IntervalSet()
    if not read.applied_at_ms or view.earliest_calm_ms is None:
        return result
    deadline_ms = int(view.deadline_s * 1000)
    spans, begun_ms = calm_spans(view), HostClock(view.clock_steps).latest_ms(view.begun_at_ms)
    for first, committed, applied in _pieces(view, ledger, read):
        if max(map(sub, applied, committed)) <= deadline_ms:
            continue  # the usual case: nothing can be late, whatever else is known
        for number, (began_ms, came_ms) in enumerate(zip(committed, applied, strict=True), start=first):
            if began_ms >= begun_ms and _is_late(spans, began_ms, came_ms, limit):
                result.add(number)
    return result


def _is_late(spans: list[Interval], began_ms: int, came_ms: int, limit: Limit) -> bool:
    return any(max(began_ms, from_ms) < limit(min(came_ms, until_ms)) for from_ms, until_ms in spans)


def calm_spans(view: ViewRecord) -> list[Interval]:
    """From when until when nothing excuses an event for being late, one span a life of the lab; unix milliseconds."""
    spans = list(view.calm_earlier)
    if view.punctual_from_ms is not None:
        spans.append((view.punctual_from_ms, FOREVER_MS))
    return spans


def overdue(view: ViewRecord, ledger: SourceLedger, seen: list[Interval], *, at_ms: int, limit_ms: int) -> IntervalSet:
    """What a reading proves late: committed, and the faults lifted, before the limit, and not seen.

    What was committed before an incarnation died without a last snapshot proves nothing.
    """
    due = _due(view, ledger, at_ms=at_ms, limit_ms=limit_ms, after_ms=view.undecided_until_ms)
    if due is None or (seen and seen[0][0] <= due[0] and due[1] <= seen[0][1]):
        return IntervalSet()
    return IntervalSet([due]).intersection(ledger.sequences).difference(IntervalSet(seen))


def had_whole_deadline(view: ViewRecord, ledger: SourceLedger, *, at_ms: int, limit_ms: int) -> IntervalSet:
    """What was committed in time to have its whole deadline before a moment, in a lab that was healed meanwhile."""
    due = _due(view, ledger, at_ms=at_ms, limit_ms=limit_ms, after_ms=0)
    return IntervalSet() if due is None else IntervalSet([due]).intersection(ledger.sequences)


def _due(view: ViewRecord, ledger: SourceLedger, *, at_ms: int, limit_ms: int, after_ms: int) -> Interval | None:
    """First and last number of what was committed after a moment and before the limit; None: nothing, or no calm."""
    calm_ms = view.calm_from_ms(at_ms)
    if calm_ms is None or limit_ms <= calm_ms or not ledger.count:
        return None
    due = bisect_right(ledger.times_ms, limit_ms - 1)
    begin = bisect_right(ledger.times_ms, after_ms) if after_ms else 0
    return (ledger.sequence_at(begin), ledger.sequence_at(due - 1)) if due > begin else None


def late_after_reads(view: ViewRecord, ledger: SourceLedger, absent: IntervalSet, limit: Limit) -> IntervalSet:
    """What the view lacked when its deadline had passed, and what was applied by word once it had been read."""
    asked_ms = view.read_at_ms if view.asked_at_ms is None else view.asked_at_ms
    if not absent or not ledger.applied_later or asked_ms is None:
        return IntervalSet()
    due = had_whole_deadline(view, ledger, at_ms=asked_ms, limit_ms=limit(asked_ms))
    return absent.intersection(ledger.applied_later).intersection(due)


def due_moments(
    view: ViewRecord, ledger: SourceLedger, read: ViewRead, members: IntervalSet
) -> list[tuple[int, IntervalSet]]:
    """(moment, members whose deadline passed within MOMENT_MS from then on), by the view's own times; ascending."""
    buckets: dict[int, list[tuple[int, int]]] = {}
    width_ms = max(1, min(MOMENT_MS, int(view.deadline_s * 500)))
    for at_ms, number in _deadlines(view, ledger, read, members):
        buckets.setdefault(at_ms // width_ms, []).append((at_ms, number))
    return [
        (min(pairs)[0], IntervalSet((number, number) for _, number in sorted(pairs, key=lambda pair: pair[1])))
        for _, pairs in sorted(buckets.items())
    ]


def _deadlines(
    view: ViewRecord, ledger: SourceLedger, read: ViewRead, members: IntervalSet
) -> Iterator[tuple[int, int]]:
    """(when its deadline passed, number) of members that came later than that."""
    deadline_ms = int(view.deadline_s * 1000)
    spans, begun_ms = calm_spans(view), HostClock(view.clock_steps).latest_ms(view.begun_at_ms)
    for first, committed, applied in _pieces(view, ledger, read):
        for place in _places(members, first, len(committed)):
            began_ms = committed[place]
            due = (max(began_ms, from_ms) + deadline_ms for from_ms, _ in spans)
            for at_ms, (_, until_ms) in zip(due, spans, strict=True):
                if began_ms >= begun_ms and at_ms < min(applied[place], until_ms):
                    yield at_ms, first + place
                    break


def _places(members: IntervalSet, first: int, length: int) -> Iterator[int]:
    """Where these numbers stand in a stretch that begins with ``first``."""
    end = first + length - 1
    for low, high in members.overlapping(first, end):
        yield from range(max(low, first) - first, min(high, end) - first + 1)


def applied_until(read: ViewRead, at_ms: int) -> IntervalSet:
    """What a read holds that was applied by then, as far as the view says when."""
    times = unpacked_times(read.applied_at_ms)
    if not times or max(times) <= at_ms:
        return IntervalSet(read.intervals)
    numbers = IntervalSet(read.intervals).numbers()
    return IntervalSet((number, number) for number, time_ms in zip(numbers, times, strict=True) if time_ms <= at_ms)


def _pieces(view: ViewRecord, ledger: SourceLedger, read: ViewRead) -> Iterator[tuple[int, array[int], array[int]]]:
    """First number, times of commit and times of application, by the run's clock, of every stretch that is in both."""
    clock = HostClock(view.clock_steps)
    for first, *times in _stamped(ledger, read):
        committed, applied = clock.pairs(*times) if clock.was_set else times
        yield first, committed, applied


def _stamped(ledger: SourceLedger, read: ViewRead) -> Iterator[tuple[int, array[int], array[int]]]:
    applied = unpacked_times(read.applied_at_ms)
    if not applied:
        return
    start = 0
    for first, last in read.intervals:
        for ledger_first, ledger_last in ledger.sequences.overlapping(first, last):
            low, high = max(first, ledger_first), min(last, ledger_last)
            ours, length = ledger.position(low), high - low + 1
            theirs = start + low - first
            if ours == theirs == 0 and length == len(applied) == ledger.count:
                yield low, ledger.times_ms, applied
            else:
                yield low, ledger.times_ms[ours : ours + length], applied[theirs : theirs + length]
        start += last - first + 1
