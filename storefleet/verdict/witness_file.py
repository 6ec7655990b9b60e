"""Reads ``witnesses.jsonl`` into the stages of a history: the union over instances and incarnations, and the timeline.

A witness only grows, so the union over whatever arrived is sound however much is missing. Only where an incarnation
ended and the next one did not begin with all that it knew, something may have been seen and never told: what was
committed up to the next one's first report is undecided there.

The file is read twice only if it must be: the first time makes the unions and notes the sources of which some report
proves a lateness; readings over time are kept for those alone, so that memory does not grow with the length of a run.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from fleetwire.intervals import Interval, IntervalSet
from fleetwire.witness import Snapshot
from storefleet.verdict.history import History, Ledger, Reading, StageRecord

logger = logging.getLogger(__name__)
LINE_LIMIT_BYTES = 256 * 1024 * 1024

_decode = msgspec.json.Decoder(Snapshot).decode
Lists = dict[str, list[Interval]]


class Patience(NamedTuple):
    """Earlier than this nothing is late: the earliest healing and the shortest deadline of all views."""

    healed_ms: int
    deadline_ms: int


def enter_witnesses(history: History, path: Path, patience: Patience | None) -> None:
    """Enter every snapshot of the file. ``patience`` None: lateness is not judged, so no timeline is kept."""
    unions: dict[str, _Union] = {}
    suspects: set[str] = set()
    ledger = history.ledger or Ledger()
    for snapshot in _snapshots(path):
        union = unions.setdefault(snapshot.stage, _Union())
        if patience is not None:
            suspects.update(union.late_sources(snapshot, ledger, patience))
        union.enter(snapshot)
    stages = [stage for stage in history.stages if stage.witnessed and stage.stage in unions]
    for stage in stages:
        unions[stage.stage].put_into(stage)
    if suspects:
        timelines = _timelines(path, suspects)
        for stage in stages:
            if unions[stage.stage].single_instance:
                stage.timeline = timelines.get(stage.stage, [])


def _snapshots(path: Path) -> Iterator[Snapshot]:
    """Every snapshot in order; a torn line (the run was killed) is skipped and logged."""
    torn = 0
    with path.open("rb") as lines:
        while line := lines.readline(LINE_LIMIT_BYTES):
            try:
                yield _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                torn += 1
    if torn:
        logger.warning("%d lines of %s are torn or no snapshot; they were skipped", torn, path)


def _timelines(path: Path, suspects: set[str]) -> dict[str, list[Reading]]:
    """Stage -> what it had seen of these sources, by time, over all its incarnations."""
    result: dict[str, list[Reading]] = {}
    unions: dict[str, tuple[Lists, Lists]] = {}
    for snapshot in _snapshots(path):
        taken, handed_on = unions.setdefault(snapshot.stage, ({}, {}))
        reading = Reading(
            snapshot.at_ms,
            {name: _join(taken, name, new) for name, new in snapshot.taken.items() if name in suspects},
            {name: _join(handed_on, name, new) for name, new in snapshot.handed_on.items() if name in suspects},
        )
        if reading.sources or reading.handed_on:
            result.setdefault(snapshot.stage, []).append(reading)
    return result


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


def _first_new(old: list[Interval], new: list[Interval]) -> int:
    """The smallest number that is new; 0 when nothing is."""
    if old == new:
        return 0
    if len(old) == len(new) == 1 and old[0][0] == new[0][0]:
        return old[0][1] + 1
    fresh = IntervalSet(new).difference(IntervalSet(old)).to_list()
    return fresh[0][0] if fresh else 0


class _Union:
    """What all instances and incarnations of one stage have seen together."""

    def __init__(self) -> None:
        self.taken: Lists = {}
        self.handed_on: Lists = {}
        self.first_taken_on_retry: Lists = {}
        self.undecided_until_ms = 0
        self._mentioned_ms: dict[str, int] = {}
        self._newest: dict[int, int] = {}
        self._last: dict[tuple[int, int], Snapshot] = {}

    @property
    def single_instance(self) -> bool:
        """With several instances no single report says what the stage as a whole lacked."""
        return len(self._newest) == 1

    def enter(self, snapshot: Snapshot) -> None:
        """Take one snapshot into the union."""
        newest = self._newest.get(snapshot.instance)
        if newest is not None and snapshot.incarnation > newest and not self._knows_all(snapshot):
            self.undecided_until_ms = max(self.undecided_until_ms, snapshot.at_ms)
        self._newest[snapshot.instance] = max(snapshot.incarnation, newest or 0)
        for known, reported in (
            (self.taken, snapshot.taken),
            (self.handed_on, snapshot.handed_on),
            (self.first_taken_on_retry, snapshot.first_taken_on_retry),
        ):
            for source, intervals in reported.items():
                _join(known, source, intervals)
        self._mentioned_ms.update(dict.fromkeys(snapshot.taken, snapshot.at_ms))
        snapshot.taken, snapshot.handed_on, snapshot.first_taken_on_retry = {}, {}, {}
        self._last[snapshot.instance, snapshot.incarnation] = snapshot

    def late_sources(self, snapshot: Snapshot, ledger: Ledger, patience: Patience) -> list[str]:
        """Sources of which this report brings something that, at the report before, was overdue already.

        Positions are taken as sequence - 1: a ledger with gaps is unknown whatever comes out here.
        """
        result: list[str] = []
        if snapshot.at_ms - patience.deadline_ms <= patience.healed_ms:
            return result
        deadline_ms, healed_ms = patience.deadline_ms, patience.healed_ms
        taken, mentioned_ms, sources = self.taken, self._mentioned_ms, ledger.sources
        for source, new in snapshot.taken.items():
            limit_ms = mentioned_ms.get(source, 0) - deadline_ms
            if limit_ms <= healed_ms or source not in sources:
                continue
            first = _first_new(taken[source], new)
            times_ms = sources[source].times_ms
            if 0 < first <= len(times_ms) and times_ms[first - 1] < limit_ms:
                result.append(source)
        return result

    def _knows_all(self, snapshot: Snapshot) -> bool:
        """Whether a new incarnation begins with everything that was known of its stage."""
        return all(
            not IntervalSet(known).difference(IntervalSet(snapshot.taken.get(source, [])))
            for source, known in self.taken.items()
        )

    def put_into(self, stage: StageRecord) -> None:
        """Enter the union into a stage of the journey."""
        stage.taken = {source: IntervalSet(known) for source, known in self.taken.items()}
        stage.handed_on = {source: IntervalSet(known) for source, known in self.handed_on.items()}
        stage.first_taken_on_retry = {source: IntervalSet(known) for source, known in self.first_taken_on_retry.items()}
        stage.undecided_until_ms = max(stage.undecided_until_ms, self.undecided_until_ms)
        rejects: Counter[str] = Counter()
        for last in self._last.values():
            stage.duplicates_absorbed += last.duplicates_absorbed
            rejects.update(last.rejects)
        stage.rejects = dict(rejects)
