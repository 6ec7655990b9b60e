"""The journal of a view of events: which numbers of which source it holds, what each says, and since when.

One row an event, in the transaction of its effect, so that journal and effect never disagree. The hash is taken over
the values that the document has here, at the end of the journey; comparing it with the ledger's proves every value.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

import msgspec
from msgspec import Meta, Raw, Struct

from consumers.feed.lines import Change
from fleetwire.clock import now_ms
from fleetwire.content import content_hash
from fleetwire.envelope import MAXIMUM_ATTEMPT
from fleetwire.errors import BadPayload
from fleetwire.events import Code, KeyText, LocalDate, UtcTime
from fleetwire.held_events import HeldEvents, digest_of
from fleetwire.identity import MAXIMUM_SEQUENCE, Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS source (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS applied (
  source INTEGER NOT NULL, sequence INTEGER NOT NULL, hash BLOB NOT NULL, applied_at_ms INTEGER NOT NULL,
  PRIMARY KEY (source, sequence)
) WITHOUT ROWID;
"""
_PUT_SOURCE: Final = "INSERT INTO source (number, id) VALUES (?, ?)"
_PUT_APPLIED: Final = "INSERT INTO applied (source, sequence, hash, applied_at_ms) VALUES (?, ?, ?, ?)"
_STORED: Final = "SELECT source, sequence, CAST(hash AS BLOB) FROM applied ORDER BY source, sequence"
_Row = tuple[str, int, Any]

_ROWS: Final = """
SELECT source.id, sequence, {column} FROM source JOIN applied ON applied.source = source.number
WHERE source.id = :id OR :id = '' ORDER BY applied.source, sequence
"""

_Sequence = Annotated[int, Meta(ge=1, le=MAXIMUM_SEQUENCE)]


class Event(Struct, frozen=True, gc=False):
    """A transaction document that can be used; ``data`` is its decoded data, ``raw_data`` the same as JSON.

    ``attempt``: which sending of it was the first to be stored.
    """

    source: str
    sequence: int
    type: str
    business_day_date: str
    data: dict[str, object]
    raw_data: bytes
    hash: bytes
    attempt: int


class AppliedTimes(TypedDict):
    """When the events of ``intervals`` were applied, unix milliseconds, in their order."""

    intervals: list[tuple[int, int]]
    applied_at_ms: list[int]


class _Document(Struct, gc=False):
    type: Code
    source: KeyText
    sequence: _Sequence
    time: UtcTime
    business_day_date: LocalDate
    data: Raw
    attempt: Raw = Raw(b"1")


_decode_document = msgspec.json.Decoder(_Document).decode
_attempt_decoder: msgspec.json.Decoder[int] = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MAXIMUM_ATTEMPT)])
_decode_data = msgspec.json.Decoder(dict[str, object]).decode


def read_event(change: Change) -> Event:
    """The event that a transaction document holds; raises BadPayload. A deletion conflicts with what was there."""
    if change.deleted:
        raise BadPayload("key_conflict", "the document was deleted: an event never changes")
    try:
        document = _decode_document(change.document)
        raw_data = bytes(document.data)
        data = _decode_data(raw_data)
        digest = content_hash(document.type, document.time, document.business_day_date, data)
    except msgspec.ValidationError as error:
        raise BadPayload("schema", str(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPayload("malformed_json", str(error)) from error
    except (RecursionError, OverflowError) as error:
        raise BadPayload("schema", f"nested too deep, or a number too large: {error}") from error
    if change.id != f"{document.source}.{document.sequence}":
        raise BadPayload("no_key", f"the document is of {document.source[:100]}.{document.sequence}, not of its id")
    return Event(
        document.source,
        document.sequence,
        document.type,
        document.business_day_date,
        data,
        raw_data,
        digest,
        _attempt(document.attempt),
    )


def _attempt(raw: Raw) -> int:
    """The number; 1 for anything else: it is no part of what was sold, and an event is not refused for it."""
    try:
        return _attempt_decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 1


class EventJournal:
    """The tables of SCHEMA, and in memory what they hold, as intervals; memory changes in ``committed`` only.

    ``held`` is for the stage's witness to report; ``applied`` are its sets.
    """

    def __init__(self) -> None:
        self.held = HeldEvents()
        self.applied = self.held.sets
        self._numbers: dict[str, int] = {}
        self._new_numbers: dict[str, int] = {}
        self._fresh: list[Event] = []
        self._repeats: list[Event] = []

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what is stored, whatever it was before; about a second for a million events."""
        self.held.begin_anew()
        self._numbers = dict(connection.execute("SELECT id, number FROM source"))
        ids = {number: source for source, number in self._numbers.items()}
        rows = connection.execute(_STORED)
        for number, group in groupby(rows, key=itemgetter(0)):
            _, sequences, hashes = zip(*group, strict=True)
            seen = IntervalSet()
            for sequence in sequences:
                seen.add(sequence)
            self.held.put(ids[number], seen, digest_of(hashes))

    def read(self, change: Change) -> Event:
        """The change's event; raises BadPayload, also for a source that is no terminal."""
        event = read_event(change)
        if event.source not in self.applied:
            Terminal.parse(event.source)
        return event

    def write(self, connection: sqlite3.Connection, events: Sequence[Event]) -> list[Event]:
        """Store those that are not stored yet; returns them."""
        self._fresh, self._repeats, self._new_numbers = [], [], {}
        in_batch: set[tuple[str, int]] = set()
        for event in events:
            key = (event.source, event.sequence)
            held = self.applied.get(event.source)
            if key in in_batch or (held is not None and event.sequence in held):
                self._repeats.append(event)
            else:
                in_batch.add(key)
                self._fresh.append(event)
        at_ms = now_ms()
        rows = [(self.number(event.source), event.sequence, event.hash, at_ms) for event in self._fresh]
        if self._new_numbers:
            connection.executemany(_PUT_SOURCE, [(number, source) for source, number in self._new_numbers.items()])
        connection.executemany(_PUT_APPLIED, rows)
        return self._fresh

    def number(self, source: str) -> int:
        """What the tables call a source of the batch that is being written."""
        number = self._numbers.get(source) or self._new_numbers.get(source)
        if number is None:
            number = self._new_numbers[source] = len(self._numbers) + len(self._new_numbers) + 1
        return number

    def committed(self) -> tuple[list[Event], list[Event]]:
        """The last ``write`` is durable: what was new in it, and what came again."""
        self._numbers.update(self._new_numbers)
        add = self.held.add
        for event in self._fresh:
            add(event.source, event.sequence, event.hash)
        result = (self._fresh, self._repeats)
        self._fresh, self._repeats, self._new_numbers = [], [], {}
        return result

    def rebuild(self, connection: sqlite3.Connection) -> None:
        """Forget everything."""
        connection.execute("DELETE FROM applied")
        connection.execute("DELETE FROM source")
        self.held.begin_anew()
        self._numbers.clear()


def final_read(path: Path) -> dict[str, ViewRead]:
    """Everything that the journal in this file holds, by source; on a connection of its own, so in any thread."""
    return {source: _view_read(rows) for source, rows in _by_source(path, "hash", "")}


def applied_times(path: Path, source: str = "") -> dict[str, AppliedTimes]:
    """When the events of one source ("" for all) were applied."""
    result: dict[str, AppliedTimes] = {}
    for name, rows in _by_source(path, "applied_at_ms", source):
        times = [at_ms for _, _, at_ms in rows]
        result[name] = {"intervals": _intervals(rows), "applied_at_ms": times}
    return result


def _by_source(path: Path, column: str, source: str) -> list[tuple[str, list[_Row]]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        rows = connection.execute(_ROWS.format(column=column), {"id": source}).fetchall()
    finally:
        connection.close()
    return [(name, list(group)) for name, group in groupby(rows, key=itemgetter(0))]


def _intervals(rows: Sequence[_Row]) -> list[tuple[int, int]]:
    seen = IntervalSet()
    for _, sequence, _ in rows:
        seen.add(sequence)
    return seen.to_list()


def _view_read(rows: Sequence[_Row]) -> ViewRead:
    hashes = b"".join(digest for _, _, digest in rows)
    return ViewRead(intervals=_intervals(rows), hashes=hashes)


def by_sequence(times: AppliedTimes) -> dict[int, int]:
    """The same with a name for every time."""
    numbers = IntervalSet(times["intervals"]).numbers()
    return dict(zip(numbers, times["applied_at_ms"], strict=True))
