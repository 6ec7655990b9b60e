"""Reads a ledger file (:mod:`fleetwire.ledger_format`) into a :class:`~storefleet.verdict.history.Ledger`.

The file is opened read-only and may still be written to by an emulator, or lie in a folder that cannot be written.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Sequence
from contextlib import closing
from hashlib import blake2b
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from fleetwire.content import HASH_BYTES
from fleetwire.errors import BadPayload, SettingsError, StorageError
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.ledger_format import LEDGER_FORMAT_NAME, LEDGER_FORMAT_VERSION
from storefleet.verdict.history import Ledger, Register, SourceLedger
from storefleet.verdict.ledger_check import (
    PLANTED,
    require_mark,
    require_outcome,
    require_register,
    require_sequences,
    require_sources,
    require_text,
    require_time,
    require_times,
)
from storefleet.verdict.seal import DIGEST_BYTES, TableMark, joined, table_mark

_EVENTS = (
    "SELECT source, sequence, type, hash, business_day_date, amount_cents, committed_at_ms, {effect}"
    " FROM event ORDER BY source, rowid"
)
_ROWS = "SELECT {columns} FROM {table} ORDER BY rowid"
_NEWEST = "SELECT coalesce(max(rowid), 0) FROM {table}"
_RARE = "SELECT source, sequence, expected_reason, {sales_count} FROM event WHERE expected_reason <> '' OR {sales_count} = 0"


def read_ledger(*paths: Path, told_until_row: int | None = None) -> Ledger:
    """Read one ledger file, or all shards of a fleet into one ledger.

    What terminals were told to be applied after row ``told_until_row`` (None: never) is kept apart, as applied later.

    Raises SettingsError for a newer format, StorageError for what is no ledger, is damaged, or for a source that is in
    two shards.
    """
    ledger = Ledger()
    for path in paths:
        try:
            with closing(open_to_read(path)) as database:
                _check_format(path, database)
                _read(database, ledger, told_until_row)
        except (sqlite3.Error, ValueError, TypeError, KeyError, OverflowError, BadPayload) as error:
            raise StorageError(f"ledger {path} cannot be read: {error}; use an undamaged run folder") from error
    return ledger


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads; raises sqlite3.Error.

    A WAL database needs its -shm file even for reading; without a WAL the file alone will do.
    """
    address = path.absolute().as_uri()
    database = sqlite3.connect(f"{address}?mode=ro", uri=True)
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        database.close()
        if not isinstance(error, sqlite3.OperationalError) or path.with_name(path.name + "-wal").exists():
            raise
        database = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    return database


def _check_format(path: Path, database: sqlite3.Connection) -> None:
    meta = dict(database.execute("SELECT name, value FROM meta"))
    if meta.get("format") != LEDGER_FORMAT_NAME:
        raise ValueError(f"its format is {meta.get('format')!r}, not {LEDGER_FORMAT_NAME!r}")
    if int(meta["version"]) > LEDGER_FORMAT_VERSION:
        raise SettingsError(
            f"ledger {path} has format version {meta['version']}; this storefleet reads up to"
            f" {LEDGER_FORMAT_VERSION}: use the storefleet that wrote it, or a newer one"
        )


def _read(database: sqlite3.Connection, ledger: Ledger, told_until_row: int | None) -> None:
    database.execute("BEGIN")  # one look at all of it: its emulator may be writing
    ledger.created_at_ms = _created_at_ms(database)
    names = {number: str(name) for number, name in _marked(database, ledger, "source", "number, id")}
    twice = sorted(ledger.sources.keys() & set(names.values()))
    if twice:
        raise ValueError(f"{twice[0]} is in another shard already")
    require_sources(names)
    by_number = {number: ledger.source(name) for number, name in names.items()}
    _read_events(database, ledger, by_number)
    _read_outcomes(database, ledger, by_number, sys.maxsize if told_until_row is None else told_until_row)
    for number, sequence, attempt, at_ms in _marked(database, ledger, "attempt", "source, sequence, attempt, at_ms"):
        require_mark(sequence, attempt)
        require_time(at_ms)
        source = by_number[number]
        source.attempts[sequence] = max(attempt, source.attempts.get(sequence, 0))
        source.resent_ms[sequence] = min(at_ms, source.resent_ms.get(sequence, at_ms))
    for number, sequence, kind in _marked(database, ledger, "planted", "source, sequence, kind"):
        require_mark(sequence, kind, PLANTED)
        planted = by_number[number].repeats if kind == "repeat" else by_number[number].conflicts
        planted.add(sequence)
    rows = _marked(database, ledger, "register", "source, online, reason, boot, bd_seq, at_ms")
    for number, online, reason, boot, bd_seq, at_ms in rows:
        require_register((online, reason, boot, bd_seq, at_ms))
        ledger.registers[names[number]] = Register(bool(online), reason, boot, bd_seq, at_ms)


def _created_at_ms(database: sqlite3.Connection) -> str:
    """Of several shards the newest's: each has its own."""
    rows = database.execute("SELECT value FROM meta WHERE name = 'created_at_ms'").fetchall()
    return str(rows[0][0]) if rows else ""


def _marked(database: sqlite3.Connection, ledger: Ledger, table: str, columns: str) -> list[tuple[Any, ...]]:
    """All rows of a table, marked for the run's seal."""
    rows = database.execute(_ROWS.format(table=table, columns=columns)).fetchall()
    mark = table_mark(rows, _newest_row(database, table))
    ledger.tables[table] = joined(ledger.tables.get(table), mark)
    return rows


def _newest_row(database: sqlite3.Connection, table: str) -> int:
    (newest_row,) = database.execute(_NEWEST.format(table=table)).fetchone()
    return int(newest_row)


def _read_outcomes(
    database: sqlite3.Connection, ledger: Ledger, by_number: dict[int, SourceLedger], told_until_row: int
) -> None:
    columns = "source, first, last, verdict, stage, reason, rowid"
    for number, first, last, verdict, stage, reason, row in _marked(database, ledger, "outcome", columns):
        source = by_number[number]
        require_outcome(source, (first, last, verdict, stage, reason))
        if verdict != "applied":
            source.rejected.update(dict.fromkeys(range(first, last + 1), (stage, reason)))
        elif row <= told_until_row:
            source.applied.add_range(first, last)
        else:
            source.applied_later.add_range(first, last)
    for source in by_number.values():
        if source.applied_later:
            source.applied_later = source.applied_later.difference(source.applied)


class _Codes(dict[str, int]):
    """Name -> its code in a list of names; a new name is appended."""

    def __init__(self, names: list[str]) -> None:
        super().__init__((name, code) for code, name in enumerate(names))
        self._names = names

    def __missing__(self, name: str) -> int:
        require_text(name)
        code = self[name] = len(self._names)
        self._names.append(name)
        return code


def _read_events(database: sqlite3.Connection, ledger: Ledger, by_number: dict[int, SourceLedger]) -> None:
    """A million rows: sorted by SQLite, then taken column by column, so that no line of ours runs for every event."""
    types, days = _Codes(ledger.types), _Codes(ledger.days)
    columns = {str(row[1]) for row in database.execute("PRAGMA table_info(event)")}
    query = _EVENTS.format(effect="effect" if "effect" in columns else "NULL")
    digest, count = blake2b(digest_size=DIGEST_BYTES), 0
    for number, rows in groupby(database.execute(query), itemgetter(0)):
        source = by_number[number]
        _, sequences, kinds, hashes, dates, amounts, times_ms, effects = zip(*rows, strict=True)
        source.sequences = _ascending(number, sequences)
        source.hashes = bytearray(b"".join(hashes))
        if set(map(len, hashes)) != {HASH_BYTES}:
            raise ValueError(f"an event of source {number} has no hash of {HASH_BYTES} bytes")
        source.times_ms = array("q", times_ms)
        require_times(times_ms)
        source.types = bytearray(map(types.__getitem__, kinds))
        source.days = array("H", map(days.__getitem__, dates))
        source.amounts_cents = array("q", amounts)
        source.effects = _effects(number, effects)
        source.lacking_effects = 0 if source.effects or not any(effects) else effects.count(None)
        count += len(effects)
        for column in (source.hashes, source.times_ms, source.types, source.days, source.amounts_cents, source.effects):
            digest.update(column)
    rare = database.execute(_RARE.format(sales_count="sales_count" if "sales_count" in columns else "1")).fetchall()
    for number, sequence, reason, sales_count in rare:
        if reason:
            require_text(reason)
            by_number[number].malformed[sequence] = reason
        if not sales_count:
            by_number[number].uncounted.add(sequence)
    digest.update(msgspec.msgpack.encode((ledger.types, ledger.days, _numbers(ledger), rare)))
    mark = TableMark(rows=count, newest_row=_newest_row(database, "event"), digest=digest.hexdigest())
    ledger.tables["event"] = joined(ledger.tables.get("event"), mark)


def _numbers(ledger: Ledger) -> list[tuple[str, Sequence[Interval]]]:
    return [(name, source.sequences.to_list()) for name, source in ledger.sources.items()]


def _effects(number: int, effects: tuple[bytes | None, ...]) -> bytearray:
    """All of them, or nothing where the ledger does not say every one: then nobody can say what a view must show."""
    if None in effects:
        return bytearray()
    joined = bytearray(b"".join(effects))  # type: ignore[arg-type]
    if len(joined) != HASH_BYTES * len(effects):
        raise ValueError(f"an event of source {number} has no effect of {HASH_BYTES} bytes")
    return joined


def _ascending(number: int, sequences: tuple[int, ...]) -> IntervalSet:
    first, last = sequences[0], sequences[-1]
    require_sequences(first, last)
    if sequences == tuple(range(first, last + 1)):
        return IntervalSet([(first, last)])
    if any(following <= before for before, following in pairwise(sequences)):
        raise ValueError(f"events of source {number} are out of order")
    return IntervalSet((sequence, sequence) for sequence in sequences)
