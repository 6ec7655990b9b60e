"""What the sync stage has stored, by source, in a file of its own: it answers asks from it when no Poseidon does.

``add`` commits: what it returned from survives the death of the process (power loss is not promised). One transaction a
batch, one row a source; a row is the source's whole interval list: one interval, unless events came out of order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from fleetwire import bounded_json
from fleetwire.closing_on_error import closing_on_error
from fleetwire.errors import StorageError
from fleetwire.identity import Key
from fleetwire.intervals import Interval, IntervalSet

FILE_NAME: Final = "applied.sqlite"
_SETTINGS: Final = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF")
_TABLE: Final = "CREATE TABLE IF NOT EXISTS applied (source TEXT PRIMARY KEY, intervals BLOB NOT NULL) WITHOUT ROWID"
_PUT: Final = "INSERT OR REPLACE INTO applied (source, intervals) VALUES (?, ?)"

_decode = bounded_json.Decoder(list[Interval]).decode
_encode = msgspec.json.encode


class AppliedLog:
    """Interval sets by source in ``sets``; opening and adding raise StorageError when the file cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.sets: dict[str, IntervalSet] = {}
        self._unsaved: set[str] = set()
        self.refusal = ""
        """Why the last commit failed; empty: it did not."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with closing_on_error(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as self._database:
                for statement in (*_SETTINGS, _TABLE):
                    self._database.execute(statement)
                for source, intervals in self._database.execute("SELECT source, intervals FROM applied"):
                    self.sets[source] = IntervalSet(_decode(intervals))
        except (OSError, sqlite3.Error, msgspec.MsgspecError) as error:
            raise StorageError(f"open {folder / FILE_NAME}: {error}") from error

    def add(self, keys: Iterable[Key]) -> None:
        """Commit that these are stored; what a StorageError left out is committed with the next call."""
        for source, sequence in keys:
            if self.sets.setdefault(source, IntervalSet()).add(sequence):
                self._unsaved.add(source)
        if not self._unsaved:
            return
        rows = [(source, _encode(self.sets[source].to_list())) for source in sorted(self._unsaved)]
        try:
            self._database.execute("BEGIN")
            self._database.executemany(_PUT, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            self.refusal = str(error)
            raise StorageError(f"{FILE_NAME}: {error}") from error
        self.refusal = ""
        self._unsaved.clear()

    def close(self) -> None:
        """Close the file."""
        self._database.close()
