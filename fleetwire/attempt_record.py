"""What a process died on: the durable memory against poison that kills whoever works on it.

Only what is suspected is entered, for the moment in which it is worked on, so ordinary traffic pays nothing and at any
time at most one thing is under suspicion. Whatever is still entered at the next start was in work when the process
died: that death is counted. Suspects are messages that were delivered before (DUP), and what a feed gives first after
a process did not end properly (``unclean``). What is worked on to its end is forgotten.

Who notices the deaths of another process counts them itself, and keeps the count here (``remember``).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fleetwire.closing_on_error import closing_on_error
from fleetwire.errors import StorageError

DEATHS_ALLOWED: Final = 3
FILE_NAME: Final = "attempts.sqlite"

_SCHEMA: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE IF NOT EXISTS attempt (message BLOB PRIMARY KEY, deaths INTEGER NOT NULL, in_work INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS running (one INTEGER PRIMARY KEY)",
    "UPDATE attempt SET deaths = deaths + 1, in_work = 0 WHERE in_work = 1",
)
_BEGIN: Final = (
    "INSERT INTO attempt (message, deaths, in_work) VALUES (?, 0, 1)"
    " ON CONFLICT (message) DO UPDATE SET in_work = 1 RETURNING deaths"
)
_FORGET: Final = "DELETE FROM attempt WHERE message = ?"
_REMEMBER: Final = "INSERT OR REPLACE INTO attempt (message, deaths, in_work) VALUES (?, ?, 0)"
_REMEMBERED: Final = "SELECT message, deaths FROM attempt WHERE substr(message, 1, length(?1)) = ?1 ORDER BY rowid"
_START: Final = "INSERT OR IGNORE INTO running (one) VALUES (1)"

_log = logging.getLogger(__name__)


class AttemptRecord:
    """Opening raises StorageError; a write that fails later is logged, and the work is done all the same.

    ``unclean``: the last process that had this file open did not close it. ``refusal``: why the last write failed; empty
    when it did not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.refusal = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing_on_error(sqlite3.connect(path, isolation_level=None)) as self._database:
                for statement in _SCHEMA:
                    self._database.execute(statement)
                self.unclean = self._database.execute(_START).rowcount == 0
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"open {path}: {error}") from error

    def begin(self, name: bytes) -> bool:
        """Enter what is worked on now; False when DEATHS_ALLOWED processes died on it: do not touch it."""
        try:
            (deaths,) = self._database.execute(_BEGIN, (name,)).fetchone()
        except sqlite3.Error as error:
            self.refusal = str(error)
            _log.warning("%s: %s; going on without the record", self._path, error)
            return True
        self.refusal = ""
        return bool(deaths < DEATHS_ALLOWED)

    def end(self, name: bytes) -> None:
        """The work on it is over, and we live."""
        self._try(_FORGET, name)

    def leave(self, name: bytes) -> None:
        """The work on it stopped, through no fault of its own, and we live; what it killed before is remembered."""
        self._try("UPDATE attempt SET in_work = 0 WHERE message = ?", name)

    def remember(self, name: bytes, deaths: int) -> None:
        """Keep how many deaths of another process the caller has counted for this; ``end`` forgets it."""
        self._try(_REMEMBER, name, deaths)

    def remembered(self, prefix: bytes) -> dict[bytes, int]:
        """What ``remember`` has kept under names that begin so, the latest last; empty when it cannot be read."""
        try:
            return dict(self._database.execute(_REMEMBERED, (prefix,)))
        except sqlite3.Error as error:
            _log.warning("%s: %s; going on without what it remembers", self._path, error)
            return {}

    def close(self) -> None:
        """The process ends properly."""
        self._try("DELETE FROM running")
        self._database.close()

    def _try(self, statement: str, *values: object) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            self.refusal = str(error)
            _log.warning("%s: %s", self._path, error)
        else:
            self.refusal = ""


def message_name(topic: str, properties: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """What a message is called in the record: the same for every delivery of it."""
    digest = blake2b(topic.encode(), digest_size=16)
    digest.update(repr(list(properties)).encode())
    digest.update(payload)
    return digest.digest()
