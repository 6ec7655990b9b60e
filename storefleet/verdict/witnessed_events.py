"""When the witnesses of a run first told of a few events: one pass over ``witnesses.jsonl``, however long it is.

A witness only grows, so the first report that has a number says by when its stage had the event, and the last one before it
that surely lacked it says that it had not come by then. A later incarnation that lacks a number proves nothing about an
event that an earlier one may have taken and never told of. Of a line that names none of the wanted sources only the head is
decoded; torn and impossible lines are skipped, as the checker skips them.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from fleetwire import bounded_json
from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from fleetwire.intervals import Interval
from fleetwire.possible import possible
from storefleet.verdict.packed_file import open_evidence
from storefleet.verdict.run_format import Plan
from storefleet.verdict.silence import Silence
from storefleet.verdict.witness_file import LINE_LIMIT_BYTES
from storefleet.verdict.witnesses_header import is_header, read_header

SEARCHED_SOURCES: Final = 4
"""So many names are looked for in a line's bytes; of more, decoding the line at once costs less."""
INSTANCE_LIMIT: Final = 100
"""So many instances of all stages together are listened to; what further ones say is left out, and logged."""

_log = logging.getLogger(__name__)


class Report(NamedTuple):
    """One instance of a stage had an event: by ``by_ms``, and not yet at ``after_ms`` (0: not known); unix milliseconds.

    ``handed_on_by_ms``: by when it had handed it on; 0: it never said so.
    """

    stage: str
    instance: int
    by_ms: int
    after_ms: int = 0
    handed_on_by_ms: int = 0


class _Head(Struct):
    """What is read of every line (see :class:`fleetwire.witness.Snapshot`)."""

    stage: str
    instance: int
    incarnation: int
    at_ms: int
    number: int = 0


class _Names(_Head):
    """The sets by source, each still as it stands there."""

    taken_sets: dict[str, Raw] = field(name="taken", default_factory=dict)
    handed_on_sets: dict[str, Raw] = field(name="handed_on", default_factory=dict)


class _Sets(_Head):
    """All that the checker decodes: what cannot be in any of it makes the whole line say nothing."""

    taken: dict[str, list[Interval]] = field(default_factory=dict)
    handed_on: dict[str, list[Interval]] = field(default_factory=dict)
    first_taken_on_retry: dict[str, list[Interval]] = field(default_factory=dict)


_heads = bounded_json.Decoder(_Head)
_names = bounded_json.Decoder(_Names)
_sets = bounded_json.Decoder(_Sets)
_intervals = bounded_json.Decoder(list[Interval])


def witnessed_events(
    path: Path, plan: Plan, keys: Collection[Key], committed_ms: Mapping[Key, int]
) -> dict[Key, list[Report]]:
    """By key, one report for each instance that told of it; nothing where there are no witnesses of this run.

    ``plan`` says which stages are witnesses, ``committed_ms`` when what is in the ledger was committed.
    """
    stages = {step.stage for step in plan.steps if step.witnessed and not step.foreign}
    listeners = _Listeners(stages, keys, committed_ms)
    try:
        if not keys or not _are_ours(path, plan):
            return {}
        with open_evidence(path) as file:
            for line in _lines(file):
                listeners.hear(line)
    except OSError as error:
        _log.info("%s cannot be read: %s", path, error.strerror)
    return listeners.reports()


def _are_ours(path: Path, plan: Plan) -> bool:
    """Whether they are of this run, as far as they say; raises OSError."""
    try:
        header = read_header(path)
    except SettingsError as error:
        _log.info("%s", error)
        return False
    return header is None or (header.run, header.started_at_ms) == (plan.name, plan.started_at_ms)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    first = file.readline(LINE_LIMIT_BYTES)
    if first and not is_header(first):
        yield first
    while line := file.readline(LINE_LIMIT_BYTES):
        yield line


class _Listeners:
    """Gives every line to whoever listens to its instance."""

    def __init__(self, stages: Set[str], keys: Collection[Key], committed_ms: Mapping[Key, int]) -> None:
        self._stages = stages
        self._keys: dict[str, list[Key]] = defaultdict(list)
        for key in keys:
            self._keys[key.source].append(key)
        self._marks = [msgspec.json.encode(source) for source in self._keys]
        self._committed_ms = committed_ms
        self._by_instance: dict[tuple[str, int], _Listener] = {}
        self._full = False

    def hear(self, line: bytes) -> None:
        """Take one line, whatever it is."""
        try:
            report = possible((_names if self._may_name(line) else _heads).decode(line))
            listener = self._listener(report) if report.stage in self._stages else None
            if listener is None:
                return
            told = _told(report, self._keys)
            if listener.has_news(told):
                possible(_sets.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        listener.hear(report, told)

    def _may_name(self, line: bytes) -> bool:
        return len(self._marks) > SEARCHED_SOURCES or any(mark in line for mark in self._marks)

    def _listener(self, report: _Head) -> _Listener | None:
        place = report.stage, report.instance
        known = self._by_instance.get(place)
        if known is None and len(self._by_instance) < INSTANCE_LIMIT:
            known = self._by_instance[place] = _Listener(self._keys, self._committed_ms)
        elif known is None and not self._full:
            self._full = True
            _log.warning("more than %d instances have told of this run: the others are not listened to", INSTANCE_LIMIT)
        return known

    def reports(self) -> dict[Key, list[Report]]:
        """All that was told."""
        result: dict[Key, list[Report]] = defaultdict(list)
        for (stage, instance), listener in self._by_instance.items():
            for key, by_ms in listener.taken_by_ms.items():
                lacked_ms, handed_on_by_ms = listener.lacked_ms.get(key, 0), listener.handed_on_by_ms.get(key, 0)
                after_ms = lacked_ms if lacked_ms < by_ms else 0
                result[key].append(Report(stage, instance, by_ms, after_ms, handed_on_by_ms))
        return dict(result)


class _Told(NamedTuple):
    """Of the sources that a report names: the wanted events that it has, and those that it lacks."""

    sources: set[str]
    taken: list[Key]
    handed_on: list[Key]
    lacking: list[Key]


def _told(report: _Head, keys: Mapping[str, list[Key]]) -> _Told:
    """Raises msgspec.DecodeError."""
    if not isinstance(report, _Names):
        return _Told(set(), [], [], [])
    sources = keys.keys() & (report.taken_sets.keys() | report.handed_on_sets.keys())
    taken = _members(report.taken_sets, sources, keys)
    handed_on = _members(report.handed_on_sets, sources, keys)
    here = {*taken, *handed_on}
    lacking = [key for source in sources for key in keys[source] if key not in here]
    return _Told(sources, taken, handed_on, lacking)


def _members(sets: Mapping[str, Raw], sources: Iterable[str], keys: Mapping[str, list[Key]]) -> list[Key]:
    result = []
    for source in sources:
        if source in sets:
            intervals = _intervals.decode(sets[source])
            result += [key for key in keys[source] if any(low <= key.sequence <= high for low, high in intervals)]
    return result


class _Listener:
    """What one instance has told of the wanted events so far, over all its incarnations."""

    def __init__(self, keys: Mapping[str, list[Key]], committed_ms: Mapping[Key, int]) -> None:
        self.taken_by_ms: dict[Key, int] = {}
        self.handed_on_by_ms: dict[Key, int] = {}
        self.lacked_ms: dict[Key, int] = {}
        """The newest time at which no incarnation of the instance can have had it."""
        self._keys = keys
        self._committed_ms = committed_ms
        self._silence = Silence(set(keys))
        self._incarnation = 1
        self._begun_ms = 0
        """What was committed earlier may have been taken by an incarnation that never told of it."""

    def has_news(self, told: _Told) -> bool:
        """Whether something in it was not told before."""
        return any(key not in self.taken_by_ms for key in told.taken) or any(
            key not in self.handed_on_by_ms for key in told.handed_on
        )

    def hear(self, report: _Head, told: _Told) -> None:
        """Take the instance's next report."""
        before_ms, silent = self._silence.broken_by(report.incarnation, report.number, report.at_ms, told.sources)
        self._note_lacking((key for source in silent for key in self._keys[source]), before_ms)
        if report.incarnation != self._incarnation:
            self._incarnation, self._begun_ms = report.incarnation, report.at_ms
        self._note_lacking(told.lacking, report.at_ms)
        for key in (*told.taken, *told.handed_on):
            self.taken_by_ms.setdefault(key, report.at_ms)
        for key in told.handed_on:
            self.handed_on_by_ms.setdefault(key, report.at_ms)

    def _note_lacking(self, keys: Iterable[Key], at_ms: int) -> None:
        for key in keys:
            if key not in self.taken_by_ms and self._committed_ms.get(key, 0) >= self._begun_ms:
                self.lacked_ms[key] = at_ms
