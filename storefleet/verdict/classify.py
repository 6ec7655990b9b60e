"""Puts every event into exactly one class, so that the counts add up.

For one view, an event of the ledger falls into the first row that fits:

| the view holds it | condition | class |
|---|---|---|
| yes or no | malformed, and held by the view or applied by word | unexpected |
| yes | rejected by word (a ``key_conflict`` that a planted conflict explains does not count) | unexpected |
| yes | of a type that this view does not hold | unexpected |
| yes | other content than the ledger's, or another beside it (see :mod:`storefleet.verdict.contents`) | corrupted |
| yes | its effect more than once | duplicated |
| yes | applied, or proven absent, later than the deadline allows | stale |
| yes | applied by word | ok |
| yes | no outcome | recovered |
| no | applied by word | lost (never_read where the run was ended before the view had its time: see below) |
| no | applied by word only after the final reads, which came after its deadline | stale |
| no | rejected by word | rejected |
| no | no outcome | never_read |

Whoever ends a run leaves its views less than their deadline. What is missing behind the position of a view's feed is
never_read then; what that position has passed is lost all the same, and so is what had its whole deadline before the
read. Without a position, only a run that was ended with events unresolved (aborted) excuses a view.

Where no view of events was read at all, only the outcomes are known: what was applied by word is ``unread`` then, since
nothing shows that it arrived, nor that it did not.

An event that a view holds and no ledger knows is unexpected, too, unless the terminals themselves reported it: then the
ledger has a hole, which is said elsewhere, and nothing follows from what it lacks. What a view shows of an event is its
content as well. Over all views an event's class is the worst, in the
order of :data:`CLASSES`. A type that a view does not hold says nothing there; an event that no view holds by its type
is judged by its outcome alone. Words: Jepsen's ``set``, ``set-full`` and ``total-queue`` checkers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Key
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.packed_times import packed_times
from fleetwire.witness import ViewRead
from storefleet.verdict.contents import contradicted
from storefleet.verdict.history import History, Ledger, Reading, Sets, SourceLedger, ViewRecord
from storefleet.verdict.lateness import Readings, all_in_time, is_mistimed, late, late_after_reads, plain_limit
from storefleet.verdict.ledger_holes import sources_with_holes
from storefleet.verdict.machine import Standstill
from storefleet.verdict.unanswered import Unanswered, unanswered

CLASSES: Final = (
    "lost",
    "corrupted",
    "duplicated",
    "unexpected",
    "stale",
    "never_read",
    "rejected",
    "recovered",
    "unread",
    "ok",
)
"""Worst first."""

ClassSets = dict[str, IntervalSet]
Rows = dict[str, tuple[list[Interval], bytes]]
"""Source -> the numbers that the ledger has of it, and when each was committed."""
NO_HASH: Final = bytes(HASH_BYTES)
"""Of what a view shows without an entry in its journal."""
NO_READ: Final = ViewRead(intervals=[], hashes=b"")


@dataclass(slots=True)
class Classes:
    """Class -> source -> numbers, for every class but ok, which is the rest."""

    sets: dict[str, Sets] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))

    def add(self, name: str, source: str, numbers: IntervalSet) -> None:
        """Enter numbers of one source that are in no class yet."""
        if numbers:
            self.sets.setdefault(name, {})[source] = numbers
            self.counts[name] += numbers.count


@dataclass(slots=True)
class Judged:
    """The classes over all views, and those of each view."""

    overall: Classes
    by_view: dict[str, Classes]
    sent: int = 0
    invented: int = 0
    """Events that a view holds and no ledger knows."""
    unanswered: Unanswered = field(default_factory=Unanswered)
    holes: Sets = field(default_factory=dict)
    """Source -> what the ledger lacks of it."""
    mistimed: dict[str, list[str]] = field(default_factory=dict)
    """View -> sources of which it says that it applied events before they were committed."""


@dataclass(slots=True)
class _Facts:
    """What is the same for every view of one source."""

    ledger: SourceLedger
    told: IntervalSet
    """Applied by word, whenever that was said."""
    malformed: IntervalSet
    rejected: IntervalSet
    resolved: IntervalSet
    plain: bool
    """Everything was well-formed and applied: the usual case."""
    holes: IntervalSet
    """What the ledger lacks, though the terminal must have committed it."""
    known: bool
    """It is a source of the fleet."""
    planted: dict[int, bytes] = field(default_factory=dict)
    """What it sent beside events as planted conflicts, as far as that could be made again."""


def classify(history: History) -> Judged:
    """Judge every event of the ledger, and every event that a view holds beside it."""
    ledger = history.ledger or Ledger()
    views = [view for view in history.views if view.holds == "events" and view.read is not None]
    judged = Judged(Classes(), {view.view: Classes() for view in views})
    codes = {view.view: _type_codes(view, ledger) for view in views}
    timelines = {view.view: by_source(view.timeline) for view in views}
    judged.holes = sources_with_holes(history)
    excused = _excused_from_ms(history, views)
    rows = {
        name: (entries.sequences.to_list(), packed_times(entries.times_ms)) for name, entries in ledger.sources.items()
    }
    whole = {view.view: _whole(view, ledger, rows, timelines[view.view]) for view in views if codes[view.view] is None}
    names = list(ledger.sources)
    names += sorted({name for view in views for name in view.read or () if name not in ledger.sources})
    for name in names:
        facts = _facts(ledger.sources.get(name), judged.holes.get(name) or IntervalSet())
        if history.planted_contents:
            contents = ((number, history.planted_contents.get(Key(name, number))) for number in facts.ledger.conflicts)
            facts.planted = {number: content for number, content in contents if content is not None}
        judged.sent += facts.ledger.count
        found_by_view: list[ClassSets] = []
        for view in views:
            if facts.plain and name in whole.get(view.view, ()):
                found_by_view.append({})
                judged.by_view[view.view].counts["ok"] += facts.ledger.count
                continue
            if is_mistimed(view, facts.ledger, (view.read or {}).get(name, NO_READ)):
                judged.mistimed.setdefault(view.view, []).append(name)
            held = _held(facts.ledger, codes[view.view])
            readings = timelines[view.view].get(name, [])
            found = _of_view(view, name, facts=facts, held=held, readings=readings, excused_from_ms=excused[view.view])
            found_by_view.append(found)
            _enter(judged.by_view[view.view], name, found, held)
        _overall(judged, name, found_by_view, facts)
    judged.unanswered = unanswered(history, judged.overall.sets.get("never_read", {}))
    return judged


def by_source(timeline: list[Reading]) -> dict[str, Readings]:
    """Readings turned round: source -> (when, what had been seen), ascending."""
    result: dict[str, Readings] = {}
    for reading in sorted(timeline, key=lambda reading: reading.at_ms):
        for source, intervals in reading.sources.items():
            result.setdefault(source, []).append((reading.at_ms, intervals))
    return result


def _type_codes(view: ViewRecord, ledger: Ledger) -> frozenset[int] | None:
    if not view.types:
        return None
    return frozenset(code for code, name in enumerate(ledger.types) if name in view.types)


def _held(ledger: SourceLedger, codes: frozenset[int] | None) -> IntervalSet:
    return ledger.sequences if codes is None else ledger.of_types(codes)


def _facts(entries: SourceLedger | None, holes: IntervalSet) -> _Facts:
    ledger, known = entries or SourceLedger(), entries is not None
    told = ledger.applied
    if ledger.applied_later:
        told = told.copy()
        told.update(ledger.applied_later)
    if not ledger.malformed and not ledger.rejected:
        plain = ledger.applied == ledger.sequences and not holes
        empty = IntervalSet()
        return _Facts(ledger, told, empty, empty, ledger.applied, plain, holes, known)
    rejected = numbers(
        number
        for number, (_, reason) in ledger.rejected.items()
        if not (reason == "key_conflict" and number in ledger.conflicts)
    )
    resolved = ledger.applied.copy()
    resolved.update(rejected)
    return _Facts(ledger, told, numbers(ledger.malformed), rejected, resolved, plain=False, holes=holes, known=known)


def rejected_unexpectedly(ledger: SourceLedger, sequence: int, allowed: frozenset[str]) -> bool:
    """Whether a rejected event was well-formed (and its reason not allowed), or deserved another reason."""
    reason = ledger.rejected[sequence][1]
    expected = ledger.malformed.get(sequence, "")
    return reason != expected and (bool(expected) or reason not in allowed)


def numbers(values: Iterable[int]) -> IntervalSet:
    """An interval set of single numbers in any order."""
    result = IntervalSet()
    for value in sorted(values):
        result.add(value)
    return result


def _whole(view: ViewRecord, ledger: Ledger, rows: Rows, timeline: dict[str, Readings]) -> set[str]:
    """Sources of which the view holds all that the ledger has, right and surely in time: the usual case, at little cost."""
    names, timed, committed, applied = set(), [], [], []
    for name, read in (view.read or {}).items():
        if name not in rows:
            continue
        intervals, committed_at_ms = rows[name]
        if read.intervals != intervals or not _is_right(ledger.sources[name], read):
            continue
        if read.applied_at_ms:
            timed.append(name)
            committed.append(committed_at_ms)
            applied.append(read.applied_at_ms)
        elif name not in timeline:
            names.add(name)
    if all_in_time(view, b"".join(committed), b"".join(applied)):
        names.update(timed)
    return names


def _of_view(
    view: ViewRecord,
    source: str,
    *,
    facts: _Facts,
    held: IntervalSet,
    readings: Readings,
    excused_from_ms: float,
) -> ClassSets:
    """The classes but ok of one source in one view that should hold ``held``."""
    assert view.read is not None
    ledger = facts.ledger
    read = view.read.get(source, NO_READ)
    found = IntervalSet(read.intervals)
    if facts.plain and held is ledger.sequences and found == held and _is_right(ledger, read):
        return _with_stale({}, view, source, facts=facts, found=found, readings=readings)
    if read.others and facts.known:
        found.update(numbers(number for number, _ in read.others))
    found = found.difference(facts.holes).difference(_unjournaled(view, read, held))
    result = _present(facts, read, found, held)
    absent = held.difference(found).difference(facts.malformed.intersection(facts.told))
    lost = absent.intersection(ledger.applied)
    out_of_time = _out_of_time(view, source, ledger, lost, excused_from_ms)
    unresolved = absent.difference(facts.resolved)
    unresolved.update(out_of_time)
    result["lost"] = lost.difference(out_of_time)
    result["never_read"] = unresolved
    result["rejected"] = absent.intersection(facts.rejected).difference(facts.told)
    return _with_stale(result, view, source, facts=facts, found=found.intersection(held), readings=readings)


def _unjournaled(view: ViewRecord, read: ViewRead, held: IntervalSet) -> IntervalSet:
    """What the view still shows and does not know any more to have applied: it may apply it again, so that it is lost."""
    result = IntervalSet()
    if not view.by_effect or NO_HASH not in read.hashes:
        return result
    numbers = IntervalSet(read.intervals).numbers()
    for number, start in zip(numbers, range(0, len(read.hashes), HASH_BYTES), strict=True):
        if read.hashes[start : start + HASH_BYTES] == NO_HASH:
            result.add(number)
    return result.intersection(held)


def _is_right(ledger: SourceLedger, read: ViewRead) -> bool:
    """Whether a read of all events of a source holds and shows each as it must be, once."""
    if read.others or read.repeated or (read.hashes and read.hashes != ledger.hashes):
        return False
    return not (read.effects and ledger.effects) or read.effects == ledger.effects


def _excused_from_ms(history: History, views: list[ViewRecord]) -> dict[str, float]:
    """By view: what was committed from then on may be missing only because the run was ended; infinity: nothing may."""
    standstill = Standstill(history.stalls, history.machine)
    result = {}
    for view in views:
        calm_ms = view.calm_from_ms(view.read_at_ms) if view.read_at_ms is not None else None
        ended = history.aborted or (history.interrupted and view.unreached is not None)
        if had_its_time(view) or not ended:
            result[view.view] = math.inf
        elif view.read_at_ms is None or calm_ms is None:
            result[view.view] = -math.inf
        else:
            limit_ms = standstill.running_limit_ms(view.read_at_ms, view.deadline_s * 1000)
            result[view.view] = limit_ms if limit_ms > max(calm_ms, view.begun_at_ms) else -math.inf
    return result


def _out_of_time(
    view: ViewRecord, source: str, ledger: SourceLedger, missing: IntervalSet, excused_from_ms: float
) -> IntervalSet:
    """What may be missing only because the run was ended: of a view whose feed is known, what that had not come to; and
    what whoever heard the view may have missed."""
    if view.missed_some:
        return missing
    if not missing or excused_from_ms == math.inf:
        return IntervalSet()
    if view.unreached is not None:
        missing = missing.intersection(view.unreached.get(source, IntervalSet()))
    old = bisect_left(ledger.times_ms, excused_from_ms)
    return missing.difference(IntervalSet([(1, ledger.sequence_at(old - 1))])) if old else missing


def _present(facts: _Facts, read: ViewRead, found: IntervalSet, held: IntervalSet) -> ClassSets:
    """Classes of what the view holds, and of what is malformed and applied by word."""
    unexpected = found.difference(held)
    unexpected.update(found.intersection(facts.malformed))
    unexpected.update(facts.malformed.intersection(facts.told).intersection(held))
    unexpected.update(found.intersection(facts.rejected))
    right = found.difference(unexpected)
    corrupted = _differing(facts, read, found).intersection(right)
    repeated = numbers(number for number, times in read.repeated if times > 1)
    duplicated = repeated.intersection(right).difference(corrupted)
    recovered = right.difference(facts.told).difference(corrupted).difference(duplicated)
    return {
        "unexpected": unexpected,
        "corrupted": corrupted,
        "duplicated": duplicated,
        "recovered": recovered,
    }


def _differing(facts: _Facts, read: ViewRead, found: IntervalSet) -> IntervalSet:
    """What the view holds, or shows, with another content than the ledger's, or with another beside it."""
    ledger = facts.ledger
    result = _unequal(ledger, read.hashes, ledger.hashes, read, found)
    if ledger.effects:
        result.update(_unequal(ledger, read.effects, ledger.effects, read, found))
    if not read.others:
        return result
    bad, explained = contradicted(ledger, read, facts.planted)
    result = result.difference(explained)
    result.update(bad)
    return result


def _unequal(ledger: SourceLedger, theirs: bytes, ours: bytearray, read: ViewRead, found: IntervalSet) -> IntervalSet:
    """Numbers whose hashes differ in two rows of them, the view's and the ledger's; whole stretches are compared at once."""
    result = IntervalSet()
    if not theirs:
        return result
    start = 0
    for first, last in read.intervals:
        for ledger_first, ledger_last in ledger.sequences.overlapping(first, last):
            low, high = max(first, ledger_first), min(last, ledger_last)
            at, length = start + (low - first) * HASH_BYTES, (high - low + 1) * HASH_BYTES
            begin = ledger.position(low) * HASH_BYTES
            pieces = theirs[at : at + length], ours[begin : begin + length]
            if pieces[0] != pieces[1]:
                _compare_each(result, low, *pieces)
        start += (last - first + 1) * HASH_BYTES
    return result.intersection(found)


def _compare_each(result: IntervalSet, first: int, theirs: bytes, ours: bytearray) -> None:
    for offset in range(0, len(ours), HASH_BYTES):
        if theirs[offset : offset + HASH_BYTES] != ours[offset : offset + HASH_BYTES]:
            result.add(first + offset // HASH_BYTES)


def had_its_time(view: ViewRecord) -> bool:
    """Whether the view agreed, or had its whole deadline after healing, before it was read."""
    if view.healed_at_ms is None:
        return False
    if view.converged_at_ms is not None:
        return True
    since_ms = max(view.healed_at_ms, view.begun_at_ms)
    return view.read_at_ms is not None and view.read_at_ms - since_ms >= view.deadline_s * 1000


def _with_stale(
    result: ClassSets,
    view: ViewRecord,
    source: str,
    *,
    facts: _Facts,
    found: IntervalSet,
    readings: Readings,
) -> ClassSets:
    read = (view.read or {}).get(source, NO_READ)
    stale = late(view, facts.ledger, read, readings, plain_limit(view)).intersection(found)
    if stale:
        for name in ("unexpected", "corrupted", "duplicated"):
            stale = stale.difference(result.get(name, IntervalSet()))
    absent = result.get("never_read", IntervalSet())
    after_reads = late_after_reads(view, facts.ledger, absent, plain_limit(view))
    if after_reads:
        result["never_read"] = result["never_read"].difference(after_reads)
        stale.update(after_reads)
    if not stale:
        return result
    result["stale"] = stale
    if "recovered" in result:
        result["recovered"] = result["recovered"].difference(stale)
    return result


def _enter(classes: Classes, source: str, found: ClassSets, held: IntervalSet) -> None:
    """Everything that the view should hold, or holds beyond that, in its one class."""
    bad = 0
    for name, members in found.items():
        classes.add(name, source, members)
        bad += members.count
    beyond = found["unexpected"].difference(held).count if "unexpected" in found else 0
    classes.counts["ok"] += held.count + beyond - bad


def _overall(judged: Judged, source: str, found_by_view: list[ClassSets], facts: _Facts) -> None:
    """The worst class over all views, and what the outcomes alone say."""
    ledger = facts.ledger
    if facts.plain and found_by_view and not any(found_by_view):
        judged.overall.counts["ok"] += ledger.count
        return
    by_word = _by_word(facts, found_by_view)
    if not found_by_view:
        by_word["unread"] = ledger.applied.intersection(ledger.sequences)
    assigned = IntervalSet()
    for name in CLASSES[:-1]:
        members = by_word.get(name, IntervalSet())
        for found in found_by_view:
            members.update(found.get(name, IntervalSet()))
        members = members.difference(assigned)
        judged.overall.add(name, source, members)
        assigned.update(members)
    invented = assigned.difference(ledger.sequences).count
    judged.invented += invented
    judged.overall.counts["ok"] += ledger.count + invented - assigned.count


def _by_word(facts: _Facts, found_by_view: list[ClassSets]) -> ClassSets:
    """What follows from outcomes whatever the views hold; a worse class in any view goes before it."""
    ledger = facts.ledger
    unresolved = ledger.sequences.difference(facts.resolved)
    if found_by_view:
        unresolved = unresolved.difference(ledger.applied_later)
    for found in found_by_view:
        unresolved = unresolved.difference(found.get("recovered", IntervalSet()))
    return {
        "unexpected": facts.malformed.intersection(facts.told),
        "never_read": unresolved,
        "rejected": facts.rejected.difference(facts.told).intersection(ledger.sequences),
    }
