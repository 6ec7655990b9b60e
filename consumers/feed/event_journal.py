"""The journal of a view of events: which numbers of which source it holds, what each says, and since when.

One row an event, in the transaction of its effect, so that journal and effect never disagree. The hash is taken over
the values that the document has here, at the end of the journey; comparing it with the ledger's proves every value.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypedDict

import msgspec
from msgspec import Meta, Raw, Struct

from consumers.feed.lines import Change
from fleetwire import bounded_json
from fleetwire.clock import now_ms
from fleetwire.content import HASH_BYTES, content_hash
from fleetwire.control import Params
from fleetwire.envelope import MAXIMUM_ATTEMPT
from fleetwire.errors import BadPayload
from fleetwire.events import Code, KeyText, LocalDate, UtcTime
from fleetwire.held_events import HeldEvents, digest_of
from fleetwire.identity import MAXIMUM_SEQUENCE, Terminal
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.packed_times import END_OF_TIME_MS, packed_times
from fleetwire.plain_words import plain
from fleetwire.witness import ViewRead

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS source (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS applied (
  source INTEGER NOT NULL, sequence INTEGER NOT NULL, hash BLOB NOT NULL, applied_at_ms INTEGER NOT NULL,
  PRIMARY KEY (source, sequence)
) WITHOUT ROWID;
"""
PAGE_EVENTS: Final = 500_000
"""A page of a final read ends behind the source with which it holds so many: about 16 MB as JSON."""
NO_HASH: Final = bytes(HASH_BYTES)
"""Of what is shown and was never journaled."""
_PUT_SOURCE: Final = "INSERT INTO source (number, id) VALUES (?, ?)"
_PUT_APPLIED: Final = "INSERT INTO applied (source, sequence, hash, applied_at_ms) VALUES (?, ?, ?, ?)"
_STORED: Final = "SELECT source, sequence, CAST(hash AS BLOB) FROM applied ORDER BY source, sequence"
_JOURNAL: Final = """
SELECT source, sequence, hash, applied_at_ms FROM applied WHERE source >= ? ORDER BY source, sequence
"""
_TIMES: Final = """
SELECT source.id, sequence, applied_at_ms FROM source JOIN applied ON applied.source = source.number
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


_decode_document = bounded_json.Decoder(_Document).decode
_attempt_decoder: bounded_json.Decoder[int] = bounded_json.Decoder(Annotated[int, Meta(ge=1, le=MAXIMUM_ATTEMPT)])
_decode_data = bounded_json.Decoder(dict[str, object]).decode


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
        raise BadPayload("schema", plain(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPayload("malformed_json", str(error)) from error
    except OverflowError as error:
        raise BadPayload("schema", f"a number is too large: {error}") from error
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
    except (msgspec.MsgspecError, UnicodeDecodeError):
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


class Entry(NamedTuple):
    """One row of the journal."""

    sequence: int
    hash: bytes
    applied_at_ms: int


def page_of(connection: sqlite3.Connection, begin: int, limit: int) -> tuple[dict[str, ViewRead], int]:
    """What the journal holds, by source, from the source with number ``begin`` on until it holds ``limit`` events; and which
    source follows, or 0. Begin a transaction to have it of the same moment as something else."""
    reads: dict[str, ViewRead] = {}
    names = source_names(connection)
    for number, rows in journal_entries(connection, begin):
        if limit <= 0:
            return reads, number
        entries, strays = sound(rows)
        if entries:
            reads[name_of(names, number)] = view_read(entries)
        if strays:
            reads[stray_name(number)] = stray_read(strays)
        limit -= len(rows)
    return reads, 0


def first_source(params: Params, view: str) -> int:
    """Where a final read goes on: ``following`` of the parameters names a source's number by view; 0: at the beginning."""
    following = params.get("following")
    number = following.get(view, 0) if isinstance(following, dict) else 0
    return number if isinstance(number, int) else 0


def source_names(connection: sqlite3.Connection) -> dict[int, str]:
    """Number -> id."""
    return dict(connection.execute("SELECT number, id FROM source"))


def name_of(names: Mapping[int, str], number: int) -> str:
    """A source's id; one that nobody entered gets a name that no terminal has."""
    return names.get(number) or f"unknown.unknown.unknown.n{number}"


def journal_entries(connection: sqlite3.Connection, begin: int) -> Iterator[tuple[int, list[Entry]]]:
    """The journal, source by source from number ``begin`` on."""
    for number, rows in groupby(connection.execute(_JOURNAL, (begin,)), key=itemgetter(0)):
        yield number, [Entry(*row[1:]) for row in rows]


def view_read(entries: Sequence[Entry]) -> ViewRead:
    """What the journal says of one source; entries ascend, and one that is there twice is held once and repeated."""
    sequences, hashes, times_ms = zip(*entries, strict=True)
    intervals = intervals_of(sequences)
    if sum(last - first + 1 for first, last in intervals) == len(sequences):
        return ViewRead(intervals=intervals, hashes=b"".join(hashes), applied_at_ms=packed_times(times_ms))
    times = Counter(sequences)
    read = view_read(list({entry.sequence: entry for entry in reversed(entries)}.values())[::-1])
    read.repeated = [(sequence, count) for sequence, count in times.items() if count > 1]
    return read


def sound(entries: list[Entry]) -> tuple[list[Entry], int]:
    """The rows of events that can be, in the order of their numbers, and how many others there are. A content that is no
    hash becomes another one, NO_HASH; a time that is none becomes 0."""
    if all(map(_is_sound, entries)):
        return entries, 0
    numbered = [entry for entry in entries if is_number(entry.sequence)]
    kept = [entry if _is_sound(entry) else _mended(entry) for entry in numbered]
    return kept, len(entries) - len(kept)


def is_number(sequence: object) -> bool:
    """Whether an event can have it."""
    return type(sequence) is int and 0 < sequence <= MAXIMUM_SEQUENCE


def _is_sound(entry: Entry) -> bool:
    sequence, content, at_ms = entry
    return (
        type(sequence) is type(at_ms) is int
        and 0 < sequence <= MAXIMUM_SEQUENCE
        and type(content) is bytes
        and len(content) == HASH_BYTES
        and 0 <= at_ms < END_OF_TIME_MS
    )


def _mended(entry: Entry) -> Entry:
    sequence, content, at_ms = entry
    is_hash = isinstance(content, bytes) and len(content) == HASH_BYTES
    is_time = isinstance(at_ms, int) and 0 <= at_ms < END_OF_TIME_MS
    return Entry(sequence, content if is_hash else NO_HASH, at_ms if is_time else 0)


def stray_name(number: int) -> str:
    """A name that no terminal has, for rows of this source under numbers that no event has."""
    return f"unknown.unknown.unknown.x{number}"


def stray_read(count: int) -> ViewRead:
    """So many events that are held, and that nobody sent."""
    return ViewRead(intervals=[(1, count)], hashes=NO_HASH * count, applied_at_ms=packed_times([0] * count))


def intervals_of(sequences: Sequence[int]) -> list[Interval]:
    """Ascending numbers as intervals; that all of them follow each other is the usual case."""
    first, last = sequences[0], sequences[-1]
    if last - first + 1 == len(sequences) and tuple(sequences) == tuple(range(first, last + 1)):
        return [(first, last)]
    seen = IntervalSet()
    for sequence in sequences:
        seen.add(sequence)
    return seen.to_list()


def applied_times(path: Path, source: str = "") -> dict[str, AppliedTimes]:
    """When the events of one source ("" for all) were applied."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows = connection.execute(_TIMES, {"id": source}).fetchall()
    result: dict[str, AppliedTimes] = {}
    for name, group in groupby(rows, key=itemgetter(0)):
        _, sequences, times_ms = zip(*group, strict=True)
        result[name] = {"intervals": intervals_of(sequences), "applied_at_ms": list(times_ms)}
    return result


def by_sequence(times: AppliedTimes) -> dict[int, int]:
    """The same with a name for every time."""
    numbers = IntervalSet(times["intervals"]).numbers()
    return dict(zip(numbers, times["applied_at_ms"], strict=True))
