"""Rows of a ledger that its writer may be writing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetwire.errors import StorageError


def query_ledger(ledger: Path, statement: str, *values: int) -> list[Any]:
    """All rows at once; raises StorageError when the ledger cannot be read or is not there."""
    with reading(ledger), contextlib.closing(open_ledger(ledger)) as database:
        return database.execute(statement, values).fetchall()


def newest_outcome(ledger: Path) -> int | None:
    """The row of the newest outcome, 0 while there is none; None where the ledger does not say."""
    try:
        (row,) = query_ledger(ledger, "SELECT coalesce(max(rowid), 0) FROM outcome")[0]
    except StorageError:
        return None
    return int(row)


def open_ledger(ledger: Path) -> sqlite3.Connection:
    """A connection that only reads; raises sqlite3.Error."""
    return sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)


@contextlib.contextmanager
def reading(ledger: Path) -> Iterator[None]:
    """What SQLite raises in here is a StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"ledger {ledger} cannot be read: {error}") from error
