"""Reads ``witnesses.jsonl`` into the stages of a history: the union over instances and incarnations, and the timeline.

A witness only grows, so the union over whatever arrived is sound however much is missing, and the newest report of an
incarnation on a source holds all that its older ones held. So the file is read three times, each time only what is
needed:

* once forwards, the heads of all lines; of stages whose view may be late and gives no times of its own also what they
  took, to find the sources of which some report proves a lateness;
* once backwards, until every source that anybody asks for has been found;
* forwards again only where an incarnation ended and the next one began (it may not know all that was known: what was
  committed up to its first report is undecided there), and for readings over time of the late sources alone.

Silence is evidence: reports are numbered, and one that follows the one before and does not name a source says that nothing
changed there until then. A witness that had no room for all that passed proves what it holds and no absence: at its stage
everything is undecided.
"""

from __future__ import annotations

import logging
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from fleetwire import bounded_json
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.possible import possible
from storefleet.verdict.history import FOREVER_MS, History, Ledger, Reading, Sets, SourceLedger, StageRecord
from storefleet.verdict.lateness import late_by_times, needs_readings, plain_limit, punctual_at_a_glance
from storefleet.verdict.packed_file import open_evidence
from storefleet.verdict.retries import Place, SaidOnRetry, Taking, Takings, enter_retries
from storefleet.verdict.silence import Silence
from storefleet.verdict.witnesses_header import is_header

logger = logging.getLogger(__name__)
LINE_LIMIT_BYTES = 256 * 1024 * 1024

Lists = dict[str, list[Interval]]


class Patience(NamedTuple):
    """Earlier than this nothing is late: the earliest healing and the shortest deadline of all views."""

    healed_ms: int
    deadline_ms: int


class _Head(msgspec.Struct, gc=False):
    """What is read of every line (see :class:`fleetwire.witness.Snapshot`)."""

    stage: str
    instance: int
    incarnation: int
    at_ms: int
    number: int = 0
    duplicates_absorbed: int = 0
    unnoted_total: int = 0
    rejects: dict[str, int] = msgspec.field(default_factory=dict)


class _Taken(_Head, gc=False):
    taken: Lists = msgspec.field(default_factory=dict)


class _Sets(_Taken, gc=False):
    handed_on: Lists = msgspec.field(default_factory=dict)
    first_taken_on_retry: Lists = msgspec.field(default_factory=dict)


Line = TypeVar("Line", bound=_Head)
_heads = bounded_json.Decoder(_Head)
_takens = bounded_json.Decoder(_Taken)
_sets = bounded_json.Decoder(_Sets)


@dataclass(slots=True)
class _Incarnation:
    """The lines of one incarnation, oldest first, and what the newest says besides sets."""

    newest: _Head
    offsets: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class _Stage:
    """Where the lines of a stage are: by instance and incarnation; ``changes`` are the first lines of later ones."""

    incarnations: dict[tuple[int, int], _Incarnation] = field(default_factory=dict)
    changes: list[int] = field(default_factory=list)
    newest: dict[int, int] = field(default_factory=dict)
    last_ms: int = 0
    absorbed_since_ms: int = 0

    @property
    def single_instance(self) -> bool:
        """With several instances no single report says what the stage as a whole lacked."""
        return len(self.newest) == 1

    def note(self, head: _Head, offset: int) -> None:
        newest = self.newest.get(head.instance)
        if newest is not None and head.incarnation > newest:
            self.changes.append(offset)
        self.newest[head.instance] = max(head.incarnation, newest or 0)
        self.last_ms = max(self.last_ms, head.at_ms)
        if head.duplicates_absorbed and not self.absorbed_since_ms:
            self.absorbed_since_ms = head.at_ms
        place = head.instance, head.incarnation
        known = self.incarnations.setdefault(place, _Incarnation(head))
        known.newest = head
        known.offsets.append(offset)

    def offsets(self) -> Iterator[int]:
        """Of all its lines, in the order of the file."""
        return merge(*(incarnation.offsets for incarnation in self.incarnations.values()))


def enter_witnesses(history: History, path: Path, patience: Patience | None) -> None:
    """Enter every snapshot of the file. ``patience`` None: lateness is not judged, so no timeline is kept."""
    ledger = history.ledger or Ledger()
    at_a_glance = {view.view: punctual_at_a_glance(view, ledger.sources) for view in history.views if patience}
    late = _Lateness(history, patience, at_a_glance)
    read_by_stage = _read_by_stage(history, ledger, at_a_glance) if patience is not None else set()
    judged = {stage.stage for stage in history.stages if stage.step in read_by_stage}
    with open_evidence(path) as file:
        lines = _Lines(file)
        stages = _index(lines, judged, late)
        interest = _interest(history)
        records = [record for record in history.stages if record.witnessed and record.stage in stages]
        for record in records:
            _enter_unions(record, lines, stages[record.stage], interest, history.ledger)
        if late.suspects:
            _enter_timelines(records, lines, stages, late.suspects)
        history.broken_lines = len(lines.broken)
    if lines.broken:
        logger.info("%d lines of %s are torn or no snapshot; they were skipped", len(lines.broken), path)


def _read_by_stage(history: History, ledger: Ledger, at_a_glance: dict[str, set[str]]) -> set[str]:
    """The steps of views whose lateness only the reports of their stage can prove."""
    return {
        view.step
        for view in history.views
        if view.holds == "events"
        and not view.hop
        and (
            not view.read
            or any(
                needs_readings(view, ledger.sources.get(name) or SourceLedger(), read)
                for name, read in view.read.items()
                if name not in at_a_glance[view.view]
            )
        )
    }


class _Lines:
    """The file by line. What cannot be decoded is skipped and remembered in ``broken``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.broken: set[int] = set()

    def all(self) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of every line that is not empty."""
        offset = 0
        self._file.seek(0)
        while line := self._file.readline(LINE_LIMIT_BYTES):
            if not line.isspace() and (offset or not is_header(line)):
                yield offset, line
            offset += len(line)

    def read(self, offset: int, decoder: bounded_json.Decoder[Line]) -> Line | None:
        """The line at an offset; None when it is broken."""
        self._file.seek(offset)
        return self.decode(offset, self._file.readline(LINE_LIMIT_BYTES), decoder)

    def decode(self, offset: int, line: bytes, decoder: bounded_json.Decoder[Line]) -> Line | None:
        """The line's content; None when it is broken."""
        try:
            return possible(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.broken.add(offset)
            return None


def _index(lines: _Lines, judged: set[str], late: _Lateness) -> dict[str, _Stage]:
    stages: dict[str, _Stage] = {}
    for offset, line in lines.all():
        head = lines.decode(offset, line, _heads)
        if head is None:
            continue
        if head.stage in judged:
            report = lines.decode(offset, line, _takens)
            if report is None:
                continue
            late.note(report)
        stages.setdefault(head.stage, _Stage()).note(head, offset)
    return stages


class _Interest(NamedTuple):
    """All that the checker may ask for, by source; ``resent``: sources of which first takings on a retry matter."""

    numbers: Sets
    resent: frozenset[str]
    until_offset: int
    """Reports that are newer than the final reads blame nobody for what these lack."""


def _interest(history: History) -> _Interest:
    """What was committed, and what any view holds beside it."""
    sources = history.ledger.sources if history.ledger else {}
    result = {name: source.sequences for name, source in sources.items() if source.count}
    for view in history.views:
        for name, read in (view.read or {}).items():
            known = result.get(name)
            if known is not None and known.to_list() == read.intervals:
                continue
            union = IntervalSet(known or ())
            for first, last in read.intervals:
                if first <= last:
                    union.add_range(first, last)
            result[name] = union
    resent = frozenset(name for name, source in sources.items() if source.attempts)
    return _Interest(result, resent, sys.maxsize if history.witnessed_bytes is None else history.witnessed_bytes)


def _enter_unions(
    record: StageRecord, lines: _Lines, stage: _Stage, interest: _Interest, ledger: Ledger | None
) -> None:
    known: tuple[Lists, Lists, Lists] = ({}, {}, {})
    takings = {
        place: _search_back(lines, incarnation, known, interest)
        for place, incarnation in reversed(stage.incarnations.items())
    }
    record.taken, record.handed_on = (
        {source: IntervalSet(intervals) for source, intervals in lists.items()} for lists in known[:2]
    )
    blanks = _blanks(lines, stage)
    ledger = ledger or Ledger()
    enter_retries(record, takings, blanks, ledger, _taken_before_resent(lines, stage, takings, ledger))
    record.undecided_until_ms = max(record.undecided_until_ms, *blanks.values(), 0)
    record.last_report_ms = stage.last_ms
    record.absorbed_since_ms = stage.absorbed_since_ms
    rejects: Counter[str] = Counter()
    for incarnation in stage.incarnations.values():
        record.duplicates_absorbed += incarnation.newest.duplicates_absorbed
        record.unnoted += incarnation.newest.unnoted_total
        rejects.update(incarnation.newest.rejects)
    record.rejects = dict(rejects)
    if record.unnoted:
        record.undecided_until_ms = FOREVER_MS


def _search_back(
    lines: _Lines, incarnation: _Incarnation, known: tuple[Lists, Lists, Lists], interest: _Interest
) -> Takings:
    """Take the newest report on every source of which more could be learned; what it says of those that were resent."""
    takings: Takings = {}
    taken, handed_on, _ = known
    missing = {
        source
        for source, numbers in interest.numbers.items()
        if source in interest.resent
        or not (_covers(taken.get(source), numbers) and _covers(handed_on.get(source), numbers))
    }
    for offset in reversed(incarnation.offsets):
        if not missing:
            break
        if offset >= interest.until_offset:
            continue
        report = lines.read(offset, _sets)
        if report is None:
            continue
        reported = report.taken, report.handed_on, report.first_taken_on_retry
        for source in missing & interest.resent & report.taken.keys():
            retried = report.first_taken_on_retry.get(source, [])
            takings[source] = Taking(IntervalSet(report.taken[source]), IntervalSet(retried))
        for lists, sets in zip(known, reported, strict=True):
            for source in missing & sets.keys():
                _join(lists, source, sets[source])
        missing.difference_update(*reported)
    return takings


def _taken_before_resent(
    lines: _Lines, stage: _Stage, takings: Mapping[Place, Takings], ledger: Ledger
) -> dict[str, IntervalSet]:
    said = SaidOnRetry(takings, ledger)
    for offset in stage.offsets():
        if not said.waiting:
            break
        report = lines.read(offset, _takens)
        if report is not None:
            said.hear(report.at_ms, report.taken)
    return said.refuted()


def _covers(known: list[Interval] | None, numbers: IntervalSet) -> bool:
    return known is not None and (known == numbers.to_list() or not numbers.difference(IntervalSet(known)))


def _blanks(lines: _Lines, stage: _Stage) -> dict[tuple[int, int], int]:
    """Incarnations that began without all that was known of their stage, or where nothing was: when each first reported."""
    result: dict[tuple[int, int], int] = {}
    changes = set(stage.changes)
    known: Lists = {}
    for offset in stage.offsets() if changes else ():
        report = lines.read(offset, _takens)
        if report is None:
            continue
        if offset in changes:
            changes.discard(offset)
            covered = (_covers(report.taken.get(name, []), IntervalSet(numbers)) for name, numbers in known.items())
            if not known or not all(covered):
                result[report.instance, report.incarnation] = report.at_ms
            if not changes:
                break
        for source, intervals in report.taken.items():
            _join(known, source, intervals)
    return result


def _enter_timelines(records: list[StageRecord], lines: _Lines, stages: dict[str, _Stage], suspects: set[str]) -> None:
    for record in records:
        stage = stages[record.stage]
        if stage.single_instance:
            record.timeline = list(_readings(lines, stage, suspects))


def _readings(lines: _Lines, stage: _Stage, suspects: set[str]) -> Iterator[Reading]:
    """What it had seen of these sources, over all its incarnations: when that changed, and until when it did not."""
    taken: Lists = {}
    handed_on: Lists = {}
    silence = Silence(suspects)
    for offset in stage.offsets():
        report = lines.read(offset, _sets)
        if report is None:
            continue
        named = suspects & (report.taken.keys() | report.handed_on.keys())
        until_ms, silent = silence.broken_by(report.incarnation, report.number, report.at_ms, named)
        if silent:
            yield _reading(until_ms, taken, handed_on, silent)
        if named:
            for name in named:
                _join(taken, name, report.taken.get(name, []))
                _join(handed_on, name, report.handed_on.get(name, []))
            yield _reading(report.at_ms, taken, handed_on, named)
    until_ms, silent = silence.at_the_end()
    if silent:
        yield _reading(until_ms, taken, handed_on, silent)


def _reading(at_ms: int, taken: Lists, handed_on: Lists, names: set[str]) -> Reading:
    return Reading(
        at_ms, {name: taken.get(name, []) for name in names}, {name: handed_on.get(name, []) for name in names}
    )


def _join(known: Lists, source: str, new: list[Interval]) -> list[Interval]:
    """Take a report into what is known; the usual report holds all that was known, with a longer end."""
    old = known.get(source)
    if old is not None and not _extends(old, new):
        union = IntervalSet(old)
        union.update(IntervalSet(new))
        new = union.to_list()
    known[source] = new
    return new


def _extends(old: list[Interval], new: list[Interval]) -> bool:
    last = len(old) - 1
    if not old:
        return True
    if len(new) <= last or (last and new[:last] != old[:last]):
        return False
    return new[last][0] == old[last][0] and new[last][1] >= old[last][1]


class _Lateness:
    """Finds the sources of which some report of a stage that owns a view may prove a lateness.

    It looks at one report in every half deadline, at all sources: an event that some report proves late was committed
    more than a deadline before that report, so at the last look before it, it was missing and older than half a
    deadline. Positions are taken as sequence - 1: a ledger with gaps is unknown whatever comes out here.
    """

    def __init__(self, history: History, patience: Patience | None, at_a_glance: dict[str, set[str]]) -> None:
        """``at_a_glance``: by view the sources that are known to be punctual."""
        self.suspects: set[str] = set()
        self._patience = patience
        sources = history.ledger.sources if history.ledger and patience else {}
        self._sources = [(name, source.times_ms) for name, source in sources.items()]
        self._views = [view.read for view in history.views if view.read is not None]
        self._note_by_word(history, at_a_glance)
        self._known: dict[str, Lists] = {}
        self._looked_ms: dict[str, int] = {}

    def _note_by_word(self, history: History, at_a_glance: dict[str, set[str]]) -> None:
        """What the views' own times prove late, or came after the reads, needs no report to be found, only to be blamed."""
        sources = history.ledger.sources if history.ledger is not None and self._patience is not None else {}
        self.suspects.update(name for name, entries in sources.items() if entries.applied_later)
        for view in history.views:
            limit = plain_limit(view)
            for name, read in (view.read or {}).items():
                if name in self.suspects or name in at_a_glance.get(view.view, ()):
                    continue
                entries = sources.get(name)
                if entries is not None and late_by_times(view, entries, read, limit):
                    self.suspects.add(name)

    def note(self, report: _Taken) -> None:
        """Take one report."""
        known = self._known.setdefault(report.stage, {})
        known.update(report.taken)
        patience = self._patience
        if patience is None:
            return
        half_ms = patience.deadline_ms // 2
        passed_ms = report.at_ms - self._looked_ms.get(report.stage, -half_ms)
        if not 0 <= passed_ms < half_ms and report.at_ms - half_ms > patience.healed_ms:
            self._looked_ms[report.stage] = report.at_ms
            self._look(known, report.at_ms - half_ms)

    def _look(self, known: Lists, before_ms: int) -> None:
        for name, times_ms in self._sources:
            seen = known.get(name, [])
            if seen and seen[0][0] == 1 and (seen[0][1] >= len(times_ms) or times_ms[seen[0][1]] >= before_ms):
                continue
            due = bisect_left(times_ms, before_ms)
            if due and self._came(name, seen, due):
                self.suspects.add(name)

    def _came(self, name: str, seen: list[Interval], due: int) -> bool:
        """Whether any view holds at the end what is due and not seen; what never came is not late but lost."""
        missing = IntervalSet([(1, due)]).difference(IntervalSet(seen))
        return any(name in read and missing.intersection(IntervalSet(read[name].intervals)) for read in self._views)
