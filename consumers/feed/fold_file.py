"""One fold's SQLite file: its state, what it could not use, and its checkpoint, always of the same moment.

``commit`` is one transaction: state, skipped lines and checkpoint are all stored, or nothing is. What is stored
survives the death of the process (power loss is not promised). A change that a fold cannot use goes to the table
``skipped`` and those behind it go on, even when the fold raises something that nobody foresaw.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from consumers.feed.lines import Change, Unusable, unusable
from fleetwire.clock import now_ms
from fleetwire.errors import BadPayload, StorageError

MAXIMUM_SKIPPED_ROWS: Final = 10_000
FROM_THE_BEGINNING: Final = "0"

_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -16384",
    "PRAGMA wal_autocheckpoint = 2000",
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS checkpoint (fold TEXT PRIMARY KEY, sequence TEXT NOT NULL, at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS skipped (
  id TEXT NOT NULL, revision TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, line BLOB NOT NULL,
  times INTEGER NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
  PRIMARY KEY (id, revision, reason)
);
"""
_PUT_CHECKPOINT: Final = "INSERT OR REPLACE INTO checkpoint (fold, sequence, at_ms) VALUES (?, ?, ?)"
_PUT_SKIPPED: Final = """
INSERT INTO skipped (id, revision, reason, detail, line, times, first_at_ms, last_at_ms) VALUES (?, ?, ?, ?, ?, 1, ?, ?)
ON CONFLICT DO UPDATE SET times = times + 1, last_at_ms = excluded.last_at_ms
"""

Item = TypeVar("Item")

_log = logging.getLogger(__name__)


class Fold(Protocol[Item]):
    """Turns the changes of one channel into state. ``apply`` must not mind being given the same change twice."""

    @property
    def name(self) -> str:
        """What the fold is called, in its checkpoint and in people's mouths."""
        ...

    @property
    def channel(self) -> str:
        """The channel of the gateway that it follows."""
        ...

    @property
    def schema(self) -> str:
        """DDL of its tables, with IF NOT EXISTS."""
        ...

    def load(self, connection: sqlite3.Connection) -> None:
        """Put what is stored into memory, in place of all that is there."""
        ...

    def read(self, change: Change) -> Item:
        """What the change says; raises BadPayload when it cannot be used. No effects."""
        ...

    def apply(self, connection: sqlite3.Connection, items: Sequence[Item]) -> None:
        """Write the effect of these changes, inside a transaction; memory follows in ``committed`` only."""
        ...

    def committed(self) -> None:
        """What ``apply`` wrote last is durable now: tell whom it concerns."""
        ...

    def rebuild(self, connection: sqlite3.Connection) -> None:
        """Forget everything, inside a transaction; all of it comes again, from the beginning."""
        ...


class FoldFile(Generic[Item]):
    """The file of one fold. All methods run on the loop's own thread, where SQLite is fast enough not to be felt."""

    def __init__(self, path: Path, fold: Fold[Item]) -> None:
        """Open or create the file; raises StorageError."""
        self.path = path
        self.fold = fold
        self.skipped: Counter[str] = Counter()
        self.applied_total = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            for setting in _SETTINGS:
                self.connection.execute(setting)
            self.connection.executescript(_SCHEMA + fold.schema)
            self.checkpoint, self.checkpoint_at_ms = self._read_checkpoint()
            for reason, times in self.connection.execute("SELECT reason, sum(times) FROM skipped GROUP BY reason"):
                self.skipped[reason] = times
            fold.load(self.connection)
        except (sqlite3.Error, OSError) as error:
            advice = "make the folder writable, or remove the file to begin again"
            raise StorageError(f"{path}: {error}; {advice}") from error

    def commit(self, changes: Sequence[Change], unusables: Sequence[Unusable], checkpoint: str) -> None:
        """Apply, note and move the checkpoint in one transaction; raises StorageError when the file cannot keep it."""
        items: list[Item] = []
        noted = list(unusables)
        for change in changes:
            try:
                items.append(self.fold.read(change))
            except BadPayload as error:
                noted.append(unusable(change, error.reason, error.detail))
        try:
            self._write(items, noted, checkpoint)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - one poison document must not stop the ones behind it
            self._commit_one_by_one(changes, unusables, checkpoint, error)
            return
        if items:
            self.applied_total += len(items)
            self.fold.committed()

    def forget(self) -> None:
        """Empty the fold and begin again at the beginning; raises StorageError."""
        try:
            self._transact(self._forget)
        except StorageError:
            self.fold.load(self.connection)
            raise
        self.checkpoint, self.checkpoint_at_ms = FROM_THE_BEGINNING, 0
        self.skipped.clear()

    def close(self) -> None:
        """Release the file; what was committed stays."""
        self.connection.close()

    def _commit_one_by_one(
        self, changes: Sequence[Change], unusables: Sequence[Unusable], checkpoint: str, error: Exception
    ) -> None:
        if len(changes) > 1:
            for change in changes:
                self.commit([change], [], change.sequence)
            self.commit([], unusables, checkpoint)
            return
        _log.exception("fold %s cannot use %s", self.fold.name, [change.id for change in changes])
        noted = [unusable(change, "stage_error", f"{type(error).__name__}: {error}") for change in changes]
        self._write([], [*unusables, *noted], checkpoint)

    def _write(self, items: Sequence[Item], noted: Sequence[Unusable], checkpoint: str) -> None:
        self._transact(lambda: self._write_rows(items, noted, checkpoint))
        if checkpoint:
            self.checkpoint, self.checkpoint_at_ms = checkpoint, now_ms()
        self.skipped.update(entry.reason for entry in noted)

    def _write_rows(self, items: Sequence[Item], noted: Sequence[Unusable], checkpoint: str) -> None:
        if items:
            self.fold.apply(self.connection, items)
        if noted:
            self._note(noted)
        if checkpoint:
            self.connection.execute(_PUT_CHECKPOINT, (self.fold.name, checkpoint, now_ms()))

    def _note(self, noted: Sequence[Unusable]) -> None:
        at_ms = now_ms()
        rows: int = self.connection.execute("SELECT count(*) FROM skipped").fetchone()[0]
        if rows >= MAXIMUM_SKIPPED_ROWS:
            _log.warning("fold %s: %d rows in skipped; more are counted only", self.fold.name, rows)
            return
        self.connection.executemany(
            _PUT_SKIPPED,
            [(entry.id, entry.revision, entry.reason, entry.detail, entry.line, at_ms, at_ms) for entry in noted],
        )

    def _forget(self) -> None:
        self.fold.rebuild(self.connection)
        self.connection.execute("DELETE FROM checkpoint")
        self.connection.execute("DELETE FROM skipped")

    def _transact(self, work: Callable[[], None]) -> None:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            work()
            self.connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back()
            raise StorageError(f"{self.path}: {error}; nothing of this batch was kept") from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _read_checkpoint(self) -> tuple[str, int]:
        row = self.connection.execute(
            "SELECT sequence, at_ms FROM checkpoint WHERE fold = ?", (self.fold.name,)
        ).fetchone()
        return (row[0], row[1]) if row else (FROM_THE_BEGINNING, 0)
