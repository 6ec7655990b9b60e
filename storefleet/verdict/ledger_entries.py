"""What the ledger says of a few events: when each was committed, how often it was sent, what its terminal was told.

The ``event`` table has no index (:mod:`fleetwire.ledger_format`), so all keys are looked up in one pass: 0.1 s for a million
events. A ledger that is missing or damaged says nothing, and a row that cannot be is left out.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from fleetwire.identity import Key
from fleetwire.intervals import Number
from fleetwire.packed_times import END_OF_TIME_MS
from storefleet.verdict.ledger_file import open_to_read

TOLD_LIMIT: Final = 8
"""So many different things that a terminal was told of one event are kept: the first ones."""

_log = logging.getLogger(__name__)

Time = Annotated[int, Meta(gt=0, lt=END_OF_TIME_MS)]
Row = TypeVar("Row")

_WANTED: Final = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE wanted (source INTEGER, sequence INTEGER, PRIMARY KEY (source, sequence)) WITHOUT ROWID;
"""
_EVENTS: Final = (
    "SELECT event.source, event.sequence, committed_at_ms FROM event CROSS JOIN wanted"
    " ON wanted.source = event.source AND wanted.sequence = event.sequence"
)
_TOLD: Final = (
    "SELECT wanted.source, wanted.sequence, verdict, stage, reason, at_ms FROM outcome CROSS JOIN wanted"
    " ON wanted.source = outcome.source AND wanted.sequence BETWEEN first AND last ORDER BY outcome.rowid"
)
_SENDINGS: Final = (
    "SELECT attempt.source, attempt.sequence, attempt, at_ms FROM attempt CROSS JOIN wanted"
    " ON wanted.source = attempt.source AND wanted.sequence = attempt.sequence ORDER BY attempt.rowid"
)
_WAITING: Final = (
    "SELECT outbox.source, outbox.sequence, attempt FROM wanted CROSS JOIN outbox"
    " ON outbox.source = wanted.source AND outbox.sequence = wanted.sequence"
)


class Told(Struct, frozen=True, kw_only=True):
    """An outcome that a terminal was told first at ``at_ms``; ``stage`` said it."""

    verdict: Literal["applied", "rejected"]
    stage: str
    reason: str = ""
    at_ms: int


class LedgerEntry(Struct, kw_only=True):
    """One event that a terminal has committed. Times are unix milliseconds."""

    committed_at_ms: int
    sent: int = 1
    """How often it was sent; 0: not yet."""
    sent_again_ms: int = 0
    """When it was sent last, if more than once."""
    told: list[Told] = field(default_factory=list)
    """Each different outcome once, in the order in which it was told."""


class LedgerEntries(Struct, kw_only=True):
    """``sources``: those of the wanted keys that are terminals of the ledger, ``events``: what was committed of them."""

    readable: bool = False
    sources: set[str] = field(default_factory=set)
    events: dict[Key, LedgerEntry] = field(default_factory=dict)


class _Committed(NamedTuple):
    number: int
    sequence: int
    at_ms: Time


class _Outcome(NamedTuple):
    number: int
    sequence: int
    verdict: Literal["applied", "rejected"]
    stage: str
    reason: str
    at_ms: Time


class _Sending(NamedTuple):
    number: int
    sequence: int
    attempt: Number
    at_ms: Time


class _Waiting(NamedTuple):
    number: int
    sequence: int
    attempt: Annotated[int, Meta(ge=0)]


def ledger_entries(path: Path, keys: Collection[Key]) -> LedgerEntries:
    """What a ledger file says of these events; nothing where there is none, or it cannot be read."""
    if not path.is_file():
        return LedgerEntries()
    try:
        with closing(open_to_read(path)) as database:
            return _read(database, keys)
    except (sqlite3.Error, ValueError, OverflowError) as error:
        _log.info("ledger %s cannot be read: %s", path, error)
        return LedgerEntries()


def _read(database: sqlite3.Connection, keys: Collection[Key]) -> LedgerEntries:
    database.executescript(_WANTED)
    database.execute("BEGIN")  # one look at all of it: its emulator may be writing
    numbers = _numbers(database, {key.source for key in keys})
    names = {number: name for name, number in numbers.items()}
    wanted = [(numbers[key.source], key.sequence) for key in keys if key.source in numbers]
    database.executemany("INSERT OR IGNORE INTO wanted VALUES (?, ?)", wanted)
    entries = LedgerEntries(readable=True, sources=set(numbers))
    for committed in _rows(database, _EVENTS, _Committed):
        entry = LedgerEntry(committed_at_ms=committed.at_ms)
        entries.events.setdefault(Key(names[committed.number], committed.sequence), entry)
    for outcome in _rows(database, _TOLD, _Outcome):
        if (event := entries.events.get(Key(names[outcome.number], outcome.sequence))) is not None:
            _tell(event, outcome)
    for waiting in _rows(database, _WAITING, _Waiting):
        if (event := entries.events.get(Key(names[waiting.number], waiting.sequence))) is not None:
            event.sent = waiting.attempt
    for sending in _rows(database, _SENDINGS, _Sending):
        if (event := entries.events.get(Key(names[sending.number], sending.sequence))) is not None:
            event.sent, event.sent_again_ms = max(event.sent, sending.attempt), sending.at_ms
    return entries


def _numbers(database: sqlite3.Connection, sources: Collection[str]) -> dict[str, int]:
    found = (
        (source, database.execute("SELECT number FROM source WHERE id = ?", (source,)).fetchone()) for source in sources
    )
    return {source: int(row[0]) for source, row in found if row is not None}


def _rows(database: sqlite3.Connection, statement: str, shape: type[Row]) -> Iterator[Row]:
    """The rows that are of this shape: SQLite keeps whatever it is given."""
    for row in database.execute(statement):
        try:
            yield msgspec.convert(row, shape)
        except msgspec.ValidationError:
            continue


def _tell(entry: LedgerEntry, outcome: _Outcome) -> None:
    told = Told(verdict=outcome.verdict, stage=outcome.stage, reason=outcome.reason, at_ms=outcome.at_ms)
    known = ((one.verdict, one.stage, one.reason) for one in entry.told)
    if (told.verdict, told.stage, told.reason) not in known and len(entry.told) < TOLD_LIMIT:
        entry.told.append(told)
