"""Reads a ledger file (:mod:`fleetwire.ledger_format`) into a :class:`~storefleet.verdict.history.Ledger`.

The file is opened read-only and may still be written to by an emulator, or lie in a folder that cannot be written.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fleetwire.content import HASH_BYTES
from fleetwire.errors import SettingsError, StorageError
from fleetwire.ledger_format import LEDGER_FORMAT_NAME, LEDGER_FORMAT_VERSION
from storefleet.verdict.history import Ledger, Register, SourceLedger

_EVENTS = (
    "SELECT source, sequence, type, hash, business_day_date, amount_cents, committed_at_ms, expected_reason"
    " FROM event ORDER BY rowid"
)


def read_ledger(path: Path) -> Ledger:
    """Read a whole ledger file.

    Raises SettingsError for a newer format, StorageError for what is no ledger or is damaged.
    """
    try:
        with closing(_open(path)) as database:
            _check_format(path, database)
            return _read(database)
    except (sqlite3.Error, ValueError, KeyError, OverflowError) as error:
        raise StorageError(f"ledger {path} cannot be read: {error}; use an undamaged run folder") from error


def _open(path: Path) -> sqlite3.Connection:
    """A WAL database needs its -shm file even for reading; without a WAL the file alone will do."""
    address = path.absolute().as_uri()
    database = sqlite3.connect(f"{address}?mode=ro", uri=True)
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        database.close()
        if path.with_name(path.name + "-wal").exists():
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


def _read(database: sqlite3.Connection) -> Ledger:
    ledger = Ledger()
    names = {number: str(name) for number, name in database.execute("SELECT number, id FROM source")}
    by_number = {number: ledger.source(name) for number, name in names.items()}
    _read_events(database, ledger, by_number)
    for number, first, last, verdict, stage, reason in database.execute(
        "SELECT source, first, last, verdict, stage, reason FROM outcome"
    ):
        if verdict == "applied":
            by_number[number].applied.add_range(first, last)
        else:
            by_number[number].rejected.update(dict.fromkeys(range(first, last + 1), (stage, reason)))
    for number, sequence, attempt in database.execute(
        "SELECT source, sequence, max(attempt) FROM attempt GROUP BY source, sequence"
    ):
        by_number[number].attempts[sequence] = attempt
    for number, sequence, kind in database.execute("SELECT source, sequence, kind FROM planted"):
        planted = by_number[number].repeats if kind == "repeat" else by_number[number].conflicts
        planted.add(sequence)
    rows = database.execute("SELECT source, online, reason, boot, bd_seq, at_ms FROM register")
    for number, online, reason, boot, bd_seq, at_ms in rows:
        ledger.registers[names[number]] = Register(bool(online), reason, boot, bd_seq, at_ms)
    return ledger


def _read_events(database: sqlite3.Connection, ledger: Ledger, by_number: dict[int, SourceLedger]) -> None:
    """A million times, so without a call of :meth:`SourceLedger.append` for each."""
    types: dict[str, int] = {}
    days: dict[str, int] = {}
    for number, sequence, kind, content, day, amount, at_ms, expected in database.execute(_EVENTS):
        source = by_number[number]
        if kind not in types:
            types[kind] = ledger.type_code(kind)
        if day not in days:
            days[day] = ledger.day_code(day)
        if len(content) != HASH_BYTES or sequence <= source.sequences.last:
            raise ValueError(f"event {sequence} of source {number} is out of order or has no hash of 8 bytes")
        source.sequences.add(sequence)
        source.hashes += content
        source.times_ms.append(at_ms)
        source.types.append(types[kind])
        source.days.append(days[day])
        source.amounts_cents.append(amount)
        if expected:
            source.malformed[sequence] = expected
