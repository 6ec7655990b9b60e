"""One fold's SQLite file: its state, what it could not use, and its checkpoint, always of the same moment.

``commit`` is one transaction: state, skipped lines and checkpoint are all stored, or nothing is. What is stored
survives the death of the process (power loss is not promised). A change that a fold cannot use goes to the table
``skipped`` and those behind it go on, even when the fold raises something that nobody foresaw, or kills the process:
after an unclean end the first CAUTIOUS_CHANGES are applied one by one, each entered in the attempt record before, and
one on which DEATHS_ALLOWED processes died is skipped. A line that names no document is known by the digest of what is
kept of it; when a feed brings it again, because no checkpoint lies behind it, it is counted and nobody is told again.
Of more than MAXIMUM_SKIPPED_ROWS different ones no row is kept: ``on_skipped`` hears of them all the same, and
``unkept_total`` counts them.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from consumers.feed.lines import Change, Unusable, unusable
from fleetwire.attempt_record import DEATHS_ALLOWED, AttemptRecord
from fleetwire.clock import now_ms
from fleetwire.closing_on_error import closing_on_error
from fleetwire.errors import BadPayload, StorageError

MAXIMUM_SKIPPED_ROWS: Final = 10_000
TOLD_SKIPS: Final = 1_000
"""So many are told with a final read."""
BATCH_CHANGES: Final = 500
DIGEST_CHARACTERS: Final = 16
CAUTIOUS_CHANGES: Final = BATCH_CHANGES
"""What the last process died on is among the first batch behind the checkpoint."""
FROM_THE_BEGINNING: Final = "0"

_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -16384",
    "PRAGMA wal_autocheckpoint = 2000",
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS checkpoint (fold TEXT PRIMARY KEY, sequence TEXT NOT NULL, at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS begun (  -- since when the fold holds what it holds: 0 = a file of before this was noted
  fold TEXT PRIMARY KEY, at_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS skipped (
  id TEXT NOT NULL, revision TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, line BLOB NOT NULL,
  times INTEGER NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
  told INTEGER NOT NULL DEFAULT 0,  -- 1: whom it concerns has it
  PRIMARY KEY (id, revision, reason)
);
"""
_PUT_CHECKPOINT: Final = "INSERT OR REPLACE INTO checkpoint (fold, sequence, at_ms) VALUES (?, ?, ?)"
_PUT_SKIPPED: Final = """
INSERT INTO skipped (id, revision, reason, detail, line, times, first_at_ms, last_at_ms) VALUES (?, ?, ?, ?, ?, 1, ?, ?)
ON CONFLICT DO UPDATE SET times = times + 1, last_at_ms = excluded.last_at_ms
"""
_REPEAT_SKIPPED: Final = """
UPDATE skipped SET times = times + 1, last_at_ms = ? WHERE id = ? AND revision = ? AND reason = ?
"""
_HAS_ROW: Final = "SELECT 1 FROM skipped WHERE id = ? AND revision = ? AND reason = ?"
_BEGIN: Final = "INSERT OR IGNORE INTO begun (fold, at_ms) VALUES (?, ?)"
_BEGIN_ANEW: Final = "INSERT OR REPLACE INTO begun (fold, at_ms) VALUES (?, ?)"
_SKIPPED: Final = "SELECT '', id, revision, reason, detail, line FROM skipped ORDER BY first_at_ms, id LIMIT ?"
_UNTOLD: Final = """
SELECT '', id, revision, reason, detail, line FROM skipped WHERE told = 0 ORDER BY first_at_ms, id LIMIT ?
"""
_TOLD: Final = "UPDATE skipped SET told = 1 WHERE id = ? AND revision = ? AND reason = ?"

Item = TypeVar("Item")
Result = TypeVar("Result")

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

    def __init__(self, path: Path, fold: Fold[Item], on_skipped: Callable[[Unusable], None] = lambda _: None) -> None:
        """Open or create the file; raises StorageError. ``on_skipped`` hears of what was skipped, once that is durable."""
        self.path = path
        self.fold = fold
        self._on_skipped = on_skipped
        self.skipped: Counter[str] = Counter()
        self.applied_total = 0
        self.unkept_total = 0
        self.refusal = ""
        """Why the last transaction could not be kept; empty: it was."""
        self.begun_at_ms = 0
        """Since when the fold holds what it holds: its file was made, or it was emptied; 0: not known."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing_on_error(sqlite3.connect(path, isolation_level=None, timeout=5.0)) as self.connection:
                for setting in _SETTINGS:
                    self.connection.execute(setting)
                self.connection.executescript(_SCHEMA + fold.schema)
                self.checkpoint, self.checkpoint_at_ms = self._read_checkpoint()
                self.begun_at_ms = self._read_begun()
                for reason, times in self.connection.execute("SELECT reason, sum(times) FROM skipped GROUP BY reason"):
                    self.skipped[reason] = times
                fold.load(self.connection)
                self._attempts = AttemptRecord(path.with_suffix(".attempts.sqlite"))
            self._cautious = CAUTIOUS_CHANGES if self._attempts.unclean else 0
        except (sqlite3.Error, OSError) as error:
            advice = "make the folder writable, or remove the file to begin again"
            raise StorageError(f"{path}: {error}; {advice}") from error

    def commit(self, changes: Sequence[Change], unusables: Sequence[Unusable], checkpoint: str) -> None:
        """Apply, note and move the checkpoint in one transaction; raises StorageError when the file cannot keep it."""
        unusables = [_named(entry) for entry in unusables]
        if self._cautious <= 0:
            self._commit(changes, unusables, checkpoint)
            return
        self._commit([], unusables, "")
        for change in changes:
            self._commit_carefully(change)
        self._commit([], [], checkpoint)

    def skips(self, *, untold: bool, limit: int = MAXIMUM_SKIPPED_ROWS) -> list[Unusable]:
        """What was skipped, oldest first: all of it, or what ``told`` was not called for."""
        return [Unusable(*row) for row in self.connection.execute(_UNTOLD if untold else _SKIPPED, (limit,))]

    def standing(self) -> dict[str, Any]:
        """What a final read tells beside what the fold holds: since when, and what it could not use, the oldest."""
        return {
            "begun_at_ms": self.begun_at_ms,
            "skips": [_plain(skip) for skip in self.skips(untold=False, limit=TOLD_SKIPS)],
        }

    def told(self, skip: Unusable) -> None:
        """Whom this skip concerns has it now; when that cannot be kept, it is told once more after a restart."""
        try:
            self.connection.execute(_TOLD, (skip.id, skip.revision, skip.reason))
        except sqlite3.Error as error:
            _log.warning("%s: %s", self.path, error)

    def forget(self) -> None:
        """Empty the fold and begin again at the beginning; raises StorageError."""
        begun_at_ms = now_ms()
        try:
            self._transact(lambda: self._forget(begun_at_ms))
        except StorageError:
            self.fold.load(self.connection)
            raise
        self.checkpoint, self.checkpoint_at_ms = FROM_THE_BEGINNING, 0
        self.begun_at_ms = begun_at_ms
        self.skipped.clear()

    def close(self) -> None:
        """Release the file; what was committed stays."""
        self.connection.close()
        self._attempts.close()

    def _commit(self, changes: Sequence[Change], unusables: Sequence[Unusable], checkpoint: str) -> None:
        items: list[Item] = []
        noted = list(unusables)
        for change in changes:
            try:
                items.append(self.fold.read(change))
            except BadPayload as error:
                noted.append(unusable(change, error.reason, error.detail))
            except Exception as error:  # noqa: BLE001 - one poison document must not stop the ones behind it
                noted.append(self._unforeseen(change, error))
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

    def _commit_carefully(self, change: Change) -> None:
        name = f"{change.id}/{change.revision}".encode()
        try:
            if self._attempts.begin(name):
                self._commit([change], [], change.sequence)
            else:
                detail = f"the process died {DEATHS_ALLOWED} times while it applied this document"
                self._write([], [unusable(change, "crash", detail)], change.sequence)
        except StorageError:
            self._attempts.leave(name)
            raise
        self._attempts.end(name)
        self._cautious -= 1

    def _commit_one_by_one(
        self, changes: Sequence[Change], unusables: Sequence[Unusable], checkpoint: str, error: Exception
    ) -> None:
        if len(changes) > 1:
            self._commit([], unusables, "")
            for change in changes:
                self._commit([change], [], change.sequence)
            self._commit([], [], checkpoint)
            return
        self._write([], [*unusables, *(self._unforeseen(change, error) for change in changes)], checkpoint)

    def _unforeseen(self, change: Change, error: Exception) -> Unusable:
        _log.warning("fold %s cannot use %s", self.fold.name, change.id, exc_info=error)
        return unusable(change, "stage_error", traceback.format_exception_only(error)[-1].strip())

    def _write(self, items: Sequence[Item], noted: Sequence[Unusable], checkpoint: str) -> None:
        if not (items or noted or checkpoint):
            return
        news = self._news(noted) if noted else []
        unkept = self._transact(lambda: self._write_rows(items, noted, checkpoint))
        if checkpoint:
            self.checkpoint, self.checkpoint_at_ms = checkpoint, now_ms()
        self.skipped.update(entry.reason for entry in noted)
        if unkept:
            self._count_unkept(unkept)
        for entry in news:
            self._on_skipped(entry)

    def _news(self, noted: Sequence[Unusable]) -> list[Unusable]:
        """What is to be told: without a sequence the feed brings the same line whenever it is asked again."""
        again = {entry for entry in noted if not entry.sequence and self._has_row(entry)}
        return [entry for entry in dict.fromkeys(noted) if entry not in again]

    def _has_row(self, entry: Unusable) -> bool:
        row = self.connection.execute(_HAS_ROW, (entry.id, entry.revision, entry.reason)).fetchone()
        return row is not None

    def _write_rows(self, items: Sequence[Item], noted: Sequence[Unusable], checkpoint: str) -> int:
        """Inside a transaction; returns how many of ``noted`` found no room for a row."""
        if items:
            self.fold.apply(self.connection, items)
        unkept = self._note(noted) if noted else 0
        if checkpoint:
            self.connection.execute(_PUT_CHECKPOINT, (self.fold.name, checkpoint, now_ms()))
        return unkept

    def _note(self, noted: Sequence[Unusable]) -> int:
        at_ms = now_ms()
        rows: int = self.connection.execute("SELECT count(*) FROM skipped").fetchone()[0]
        room = max(0, MAXIMUM_SKIPPED_ROWS - rows)
        self.connection.executemany(
            _PUT_SKIPPED,
            [
                (entry.id, entry.revision, entry.reason, entry.detail, entry.line, at_ms, at_ms)
                for entry in noted[:room]
            ],
        )
        beyond = noted[room:]
        if not beyond:
            return 0
        repeats = self.connection.executemany(
            _REPEAT_SKIPPED, [(at_ms, entry.id, entry.revision, entry.reason) for entry in beyond]
        )
        return len(beyond) - repeats.rowcount

    def _count_unkept(self, unkept: int) -> None:
        if not self.unkept_total:
            _log.error(
                "%s: %d rows in skipped, no more are kept; later skips are told and counted (skipped_unkept_total)",
                self.path,
                MAXIMUM_SKIPPED_ROWS,
            )
        self.unkept_total += unkept

    def _forget(self, begun_at_ms: int) -> None:
        self.fold.rebuild(self.connection)
        self.connection.execute(_BEGIN_ANEW, (self.fold.name, begun_at_ms))
        self.connection.execute("DELETE FROM checkpoint")
        self.connection.execute("DELETE FROM skipped")

    def _transact(self, work: Callable[[], Result]) -> Result:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            result = work()
            self.connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back()
            # What is no fault of the data: a full disk, a file that cannot be written or is damaged.
            if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
                self.refusal = str(error)
                raise StorageError(f"{self.path}: {error}; nothing of this batch was kept") from error
            raise
        except BaseException:
            self._roll_back()
            raise
        self.refusal = ""
        return result

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _read_checkpoint(self) -> tuple[str, int]:
        row = self.connection.execute(
            "SELECT sequence, at_ms FROM checkpoint WHERE fold = ?", (self.fold.name,)
        ).fetchone()
        return (row[0], row[1]) if row else (FROM_THE_BEGINNING, 0)

    def _read_begun(self) -> int:
        """Since when; a file that has a checkpoint and does not say it is of before it could."""
        self.connection.execute(_BEGIN, (self.fold.name, 0 if self.checkpoint_at_ms else now_ms()))
        begun_at_ms: int = self.connection.execute(
            "SELECT at_ms FROM begun WHERE fold = ?", (self.fold.name,)
        ).fetchone()[0]
        return begun_at_ms


def _named(entry: Unusable) -> Unusable:
    """A line that names no document gets the digest of what is kept of it in its revision's place."""
    return entry if entry.id else entry._replace(revision=hashlib.sha256(entry.line).hexdigest()[:DIGEST_CHARACTERS])


def _plain(skip: Unusable) -> dict[str, str]:
    return {
        "id": skip.id,
        "reason": skip.reason,
        "detail": skip.detail,
        "line": skip.line.decode(errors="replace"),
    }
