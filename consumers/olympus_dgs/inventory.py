"""The inventory's SQLite file: one row a terminal, its newest register, and whether the gateway has it yet.

A register is ordered by ``(boot, bd_seq)``. A smaller pair is a ghost and ignored; of an equal pair the later arrival
counts, since PARM may find a silent terminal alive again within one connection.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from fleetwire import bounded_json
from fleetwire.closing_on_error import closing_on_error
from fleetwire.documents import DEVICE_PREFIX, DeviceDocument
from fleetwire.errors import StorageError

_SETTINGS: Final = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS device (
  terminal TEXT PRIMARY KEY, boot INTEGER NOT NULL, bd_seq INTEGER NOT NULL, body BLOB NOT NULL,
  revision TEXT NOT NULL,    -- of the gateway's document that this one is to replace; '' for none
  stored INTEGER NOT NULL    -- 1: the gateway has this body
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS device_to_store ON device (terminal) WHERE stored = 0;
"""
_TAKE: Final = """
INSERT INTO device (terminal, boot, bd_seq, body, revision, stored) VALUES (?, ?, ?, ?, '', 0)
ON CONFLICT DO UPDATE SET boot = excluded.boot, bd_seq = excluded.bd_seq, body = excluded.body, stored = 0
WHERE (excluded.boot, excluded.bd_seq) >= (boot, bd_seq) AND excluded.body <> body
"""
_TO_STORE: Final = """
SELECT terminal, revision, body FROM device WHERE stored = 0 AND terminal > ? ORDER BY terminal LIMIT ?
"""
_STORED: Final = "UPDATE device SET revision = ?, stored = (body = ?) WHERE terminal = ?"
_ADOPT: Final = "UPDATE device SET boot = ?, bd_seq = ?, body = ?, revision = ?, stored = 1 WHERE terminal = ?"

_decode = bounded_json.Decoder(DeviceDocument).decode


class ToStore(NamedTuple):
    """A register that the gateway does not have yet; ``body`` is its DeviceDocument as JSON."""

    terminal: str
    revision: str
    body: bytes

    @property
    def document(self) -> bytes:
        """The document to write."""
        head: dict[str, str] = {"_id": DEVICE_PREFIX + self.terminal}
        if self.revision:
            head["_rev"] = self.revision
        return msgspec.json.encode(head)[:-1] + b"," + self.body[1:]


class Inventory:
    """All registers; every method is one transaction and raises StorageError when the file cannot keep it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.refusal = ""
        """Why the last transaction could not be kept; empty: it was."""
        with self._as_storage_error():
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing_on_error(sqlite3.connect(path, isolation_level=None, timeout=5.0)) as self._connection:
                for setting in _SETTINGS:
                    self._connection.execute(setting)
                self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def take(self, devices: Sequence[DeviceDocument]) -> list[DeviceDocument]:
        """Keep what is not a ghost, in this order; returns what the touched registers are now."""
        rows = [(device.terminal, device.boot, device.bd_seq, msgspec.json.encode(device)) for device in devices]
        with self._transaction():
            self._connection.executemany(_TAKE, rows)
        found = (self.device(terminal) for terminal in {device.terminal for device in devices})
        return [device for device in found if device is not None]

    def to_store(self, after: str, limit: int) -> list[ToStore]:
        """Registers that the gateway does not have, from the terminal behind ``after`` on."""
        with self._as_storage_error():
            return [ToStore(*row) for row in self._connection.execute(_TO_STORE, (after, limit))]

    @property
    def to_store_count(self) -> int:
        """How many registers the gateway does not have."""
        with self._as_storage_error():
            count: int = self._connection.execute("SELECT count(*) FROM device WHERE stored = 0").fetchone()[0]
        return count

    def stored(self, rows: Sequence[tuple[ToStore, str]]) -> None:
        """The gateway has these, at these revisions; one that changed meanwhile is still to be stored."""
        with self._transaction():
            self._connection.executemany(_STORED, [(revision, row.body, row.terminal) for row, revision in rows])

    def settle_conflict(self, row: ToStore, theirs: DeviceDocument | None, revision: str) -> None:
        """The gateway has another revision: the greater pair wins, ours when they are equal."""
        ours = _decode(row.body)
        with self._transaction():
            if theirs is not None and (theirs.boot, theirs.bd_seq) > (ours.boot, ours.bd_seq):
                body = msgspec.json.encode(theirs)
                self._connection.execute(_ADOPT, (theirs.boot, theirs.bd_seq, body, revision, row.terminal))
            else:
                self._connection.execute("UPDATE device SET revision = ? WHERE terminal = ?", (revision, row.terminal))

    def device(self, terminal: str) -> DeviceDocument | None:
        """One register."""
        with self._as_storage_error():
            row = self._connection.execute("SELECT body FROM device WHERE terminal = ?", (terminal,)).fetchone()
        return _decode(row[0]) if row else None

    def devices(self, store: str, limit: int) -> list[DeviceDocument]:
        """All registers of one store, "" for all stores, at most ``limit``."""
        first, last = (f"{store}.", f"{store}/") if store else ("", "~")
        query = "SELECT body FROM device WHERE terminal >= ? AND terminal < ? ORDER BY terminal LIMIT ?"
        with self._as_storage_error():
            return [_decode(body) for (body,) in self._connection.execute(query, (first, last, limit))]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._as_storage_error():
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        except StorageError as error:
            self.refusal = str(error)
            raise
        self.refusal = ""

    @contextlib.contextmanager
    def _as_storage_error(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{self._path}: {error}; nothing of this was kept") from error
