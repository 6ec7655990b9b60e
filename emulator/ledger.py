"""The emulator's ledger file: one SQLite transaction a group of events, and everything that a restart needs.

What :meth:`Ledger.commit` has returned for survives the death of the process. A commit that fails keeps nothing: the
same batch can be committed again. Beside the tables of :mod:`fleetwire.ledger_format` the file holds ``till``, which is
the emulator's own: how often a terminal was started, and where its till stands.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from fleetwire import ledger_format
from fleetwire.clock import now_ms
from fleetwire.closing_on_error import closing_on_error
from fleetwire.effects import TillEntry
from fleetwire.errors import SettingsError, StorageError
from fleetwire.identity import MAXIMUM_SEQUENCE
from fleetwire.intervals import Interval

Row: TypeAlias = tuple[object, ...]
RegisterRow: TypeAlias = tuple[int, int, str, int, int, int]
"""Source, online, reason, boot, bd_seq, at_ms."""

_TEXT_LIMIT: Final = 100
_OWN_DDL: Final = """
CREATE TABLE IF NOT EXISTS till (
  source INTEGER PRIMARY KEY,
  boot   INTEGER NOT NULL,
  state  BLOB                        -- emulator.business_day.Till.save(); NULL before the first event
);
"""
_BOOT: Final = "INSERT INTO till (source, boot) VALUES (?, 1) ON CONFLICT (source) DO UPDATE SET boot = boot + 1"
_PUT_TILL: Final = "UPDATE till SET state = ? WHERE source = ?"
_SENT: Final = "UPDATE outbox SET attempt = ? WHERE source = ? AND sequence = ?"
_RESOLVED: Final = "DELETE FROM outbox WHERE source = ? AND sequence = ?"
_CLOSE_REGISTER: Final = "UPDATE register SET online = 0, reason = 'planned_close', at_ms = ? WHERE source = ?"
_WAITING: Final = (
    "SELECT sequence, topic, type, time, properties, payload FROM outbox"
    " WHERE source = ? AND sequence > ? ORDER BY sequence LIMIT ?"
)
_ONE_WAITING: Final = (
    "SELECT sequence, topic, type, time, properties, payload FROM outbox WHERE source = ? AND sequence = ?"
)


class StoredEvent(NamedTuple):
    """An event as it goes on the wire; ``properties`` is empty, or JSON that replaces the envelope's own."""

    sequence: int
    topic: str
    type: str
    time: str
    properties: str
    payload: bytes


class WrittenEvent(NamedTuple):
    """One event, ready for the ledger; ``conflict`` is another content for the same key, or empty."""

    stored: StoredEvent
    content_hash: bytes
    business_day_date: str
    amount_cents: int
    expected_reason: str
    conflict: bytes
    sales_count: int
    effect_hash: bytes
    till_entry: TillEntry


class Remembered(NamedTuple):
    """What the file knows of one terminal at the start: ``waiting`` is (sequence, attempt) of its unresolved events."""

    boot: int
    till_state: bytes | None
    waiting: list[tuple[int, int]]


class Batch:
    """Rows that are committed together, in the order of the tables' columns."""

    __slots__ = (
        "attempts", "closings", "events", "outbox", "outcomes", "planted", "registers", "resolved", "sent", "tills",
    )  # fmt: skip

    def __init__(self) -> None:
        self.events: list[Row] = []
        self.outbox: list[Row] = []
        self.outcomes: list[Row] = []
        self.attempts: list[Row] = []
        self.planted: list[Row] = []
        self.sent: list[Row] = []
        """(attempt, source, sequence)"""
        self.resolved: list[Row] = []
        """(source, sequence)"""
        self.tills: list[Row] = []
        """(state, source)"""
        self.registers: dict[int, RegisterRow] = {}
        self.closings: dict[int, Row] = {}
        """(at_ms, source), of terminals that closed while they were offline."""

    def add_event(self, number: int, event: WrittenEvent, *, attempt: int) -> None:
        """An event of terminal ``number``; ``attempt`` is 1 when it goes out with the commit, 0 when it waits."""
        stored = event.stored
        self.events.append(
            (number, stored.sequence, stored.type, event.content_hash, event.business_day_date, event.amount_cents,
             now_ms(), event.expected_reason, event.sales_count, event.effect_hash, *event.till_entry)
        )  # fmt: skip
        self.outbox.append(
            (number, stored.sequence, attempt, stored.topic, stored.type, stored.time, stored.properties,
             stored.payload)
        )  # fmt: skip

    def add_outcome(self, number: int, told: Interval, verdict: str, stage: str, reason: str) -> None:
        """What terminal ``number`` was told, cut to what the file can hold, whoever said it."""
        ends = max(told[0], 1), min(told[1], MAXIMUM_SEQUENCE)
        self.outcomes.append((number, *ends, verdict, _short(stage), _short(reason), now_ms()))

    def put_register(self, row: RegisterRow) -> None:
        """What a terminal's register says now."""
        self.registers[row[0]] = row
        self.closings.pop(row[0], None)

    def close_register(self, number: int) -> None:
        """Terminal ``number`` closed while it was offline: its register says so, of the session that it had last.

        One that has had none, so that nobody has heard of it, has no register.
        """
        at_ms, put = now_ms(), self.registers.get(number)
        if put is None:
            self.closings[number] = (at_ms, number)
        else:
            self.registers[number] = (number, 0, "planned_close", put[3], put[4], at_ms)


_STATEMENTS: Final = (
    (ledger_format.INSERT_TRADED_EVENT, "events"),
    (ledger_format.INSERT_OUTBOX, "outbox"),
    (_PUT_TILL, "tills"),
    (ledger_format.INSERT_ATTEMPT, "attempts"),
    (ledger_format.INSERT_PLANTED, "planted"),
    (_SENT, "sent"),
    (ledger_format.INSERT_OUTCOME, "outcomes"),
    (_RESOLVED, "resolved"),
)


class Ledger:
    """The open file, for one writer. Raises SettingsError when it is another fleet's, StorageError for a full disk."""

    def __init__(self, path: Path, *, seed: int, shard: int) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing_on_error(sqlite3.connect(path, isolation_level=None)) as self._connection:
                for pragma in ledger_format.PRAGMAS:
                    self._connection.execute(pragma)
                self._check(seed, shard)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error

    def _check(self, seed: int, shard: int) -> None:
        connection = self._connection
        connection.executescript(ledger_format.DDL + _OWN_DDL)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(event)")}
        for name, kind in ledger_format.LATER_COLUMNS.items():
            if name not in columns:
                connection.execute(f"ALTER TABLE event ADD COLUMN {name} {kind}")
        known = dict(connection.execute("SELECT name, value FROM meta"))
        wanted = {**dict(ledger_format.META_ROWS), "seed": str(seed), "shard": str(shard)}
        for name, value in wanted.items():
            if known.setdefault(name, value) != value:
                raise SettingsError(
                    f"ledger {self.path} has {name} {known[name]}, this fleet {value}: use another state folder"
                )
        known.setdefault("created_at_ms", str(now_ms()))
        connection.executemany(ledger_format.INSERT_META, known.items())

    def boot(self, ids: Sequence[str]) -> list[Remembered]:
        """Start every terminal once more; ``ids[n]`` has number ``n + 1`` in the file, as it had before.

        A fleet may have grown at its end since; any other change is a SettingsError, and the file stays as it was.
        """
        connection = self._connection
        numbers = range(1, len(ids) + 1)
        try:
            with closing_on_error(connection), self._transaction():
                connection.executemany(ledger_format.INSERT_SOURCE, zip(numbers, ids, strict=True))
                stored = [name for (name,) in connection.execute("SELECT id FROM source ORDER BY number")]
                if stored != list(ids):
                    raise SettingsError(
                        f"ledger {self.path} has {len(stored)} terminals of another fleet: use another state folder"
                    )
                connection.executemany(_BOOT, ((number,) for number in numbers))
                connection.execute(
                    "UPDATE register SET online = 0, reason = 'lost', at_ms = ? WHERE online = 1", (now_ms(),)
                )
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        return self._remembered(len(ids))

    def boot_one(self, number: int) -> Remembered:
        """Start one terminal once more, from what the file knows of it. Raises StorageError."""
        try:
            with self._transaction():
                self._connection.execute(_BOOT, (number,))
            till = self._connection.execute("SELECT boot, state FROM till WHERE source = ?", (number,))
            boot, state = till.fetchone()
            query = "SELECT sequence, attempt FROM outbox WHERE source = ? ORDER BY sequence"
            return Remembered(boot, state, self._connection.execute(query, (number,)).fetchall())
        except sqlite3.Error as error:
            raise StorageError(f"ledger {self.path}: {error}: make room") from error

    def _remembered(self, count: int) -> list[Remembered]:
        rows = self._connection.execute("SELECT boot, state FROM till ORDER BY source LIMIT ?", (count,))
        result = [Remembered(boot, state, []) for boot, state in rows]
        query = "SELECT source, sequence, attempt FROM outbox ORDER BY source, sequence"
        for source, sequence, attempt in self._connection.execute(query):
            result[source - 1].waiting.append((sequence, attempt))
        return result

    def commit(self, batch: Batch) -> None:
        """Keep all of the batch, or nothing of it and raise StorageError (a full disk)."""
        try:
            with self._transaction():
                for statement, name in _STATEMENTS:
                    rows = getattr(batch, name)
                    if rows:
                        self._connection.executemany(statement, rows)
                if batch.registers:
                    self._connection.executemany(ledger_format.PUT_REGISTER, batch.registers.values())
                if batch.closings:
                    self._connection.executemany(_CLOSE_REGISTER, batch.closings.values())
        except sqlite3.Error as error:
            raise StorageError(f"ledger {self.path}: {error}: make room; it goes on by itself") from error

    def waiting_after(self, number: int, sequence: int, limit: int) -> list[StoredEvent]:
        """The next committed events of a terminal behind ``sequence``, at most ``limit``."""
        rows = self._connection.execute(_WAITING, (number, sequence, limit)).fetchall()
        return [StoredEvent(*row) for row in rows]

    def waiting(self, number: int, sequences: Iterable[int]) -> list[StoredEvent]:
        """These unresolved events of a terminal, those that are there."""
        found = (self._connection.execute(_ONE_WAITING, (number, sequence)).fetchone() for sequence in sequences)
        return [StoredEvent(*row) for row in found if row is not None]

    def close(self) -> None:
        """Note the orderly end and close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(ledger_format.INSERT_META, ("closed_at_ms", str(now_ms())))
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _short(text: str) -> str:
    return text[:_TEXT_LIMIT].encode("ascii", "replace").decode()


def _unusable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(f"ledger {path}: {error}: give a folder that can be written, with room")
