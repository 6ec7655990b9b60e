"""Which messages the process died on: the durable memory against a poison message that kills whoever reads it.

Only a message that was delivered before (DUP) is entered, for the moment in which it is worked on, so ordinary traffic
pays nothing and at any time at most one message is under suspicion. Whatever is still entered at the next start was in
work when the process died. A message that is worked on to its end is forgotten.
"""

from __future__ import annotations

import logging
import sqlite3
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fleetwire.errors import StorageError
from fleetwire.mqtt import Message

DEATHS_ALLOWED: Final = 3
FILE_NAME: Final = "attempts.sqlite"

_SCHEMA: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE IF NOT EXISTS attempt (message BLOB PRIMARY KEY, deaths INTEGER NOT NULL, in_work INTEGER NOT NULL)",
    "UPDATE attempt SET deaths = deaths + 1, in_work = 0 WHERE in_work = 1",
)
_BEGIN: Final = (
    "INSERT INTO attempt (message, deaths, in_work) VALUES (?, 0, 1)"
    " ON CONFLICT (message) DO UPDATE SET in_work = 1 RETURNING deaths"
)
_FORGET: Final = "DELETE FROM attempt WHERE message = ?"

_log = logging.getLogger(__name__)


class AttemptRecord:
    """Opening raises StorageError; a write that fails later is logged, and the message is worked on all the same."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
            for statement in _SCHEMA:
                self._database.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"open {folder / FILE_NAME}: {error}") from error

    def begin(self, message: Message) -> bool:
        """Enter a message before working on it; False when DEATHS_ALLOWED processes died on it: do not touch it."""
        try:
            (deaths,) = self._database.execute(_BEGIN, (_name(message),)).fetchone()
        except sqlite3.Error as error:
            _log.warning("%s: %s; going on without the record", FILE_NAME, error)
            return True
        return bool(deaths < DEATHS_ALLOWED)

    def end(self, message: Message) -> None:
        """The work on it is over, and we live."""
        try:
            self._database.execute(_FORGET, (_name(message),))
        except sqlite3.Error as error:
            _log.warning("%s: %s", FILE_NAME, error)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _name(message: Message) -> bytes:
    digest = blake2b(message.topic.encode(), digest_size=16)
    digest.update(repr(message.properties).encode())
    digest.update(message.payload)
    return digest.digest()
