"""Events as the ledger gets them, read on from where the last read ended: nothing is looked at twice.

The writer is another process and goes on meanwhile. A ledger that cannot be read now is read on later.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

from fleetwire.errors import StorageError
from storefleet.ledger_rows import query_ledger

ROWS_A_READ: Final = 20_000
"""So many are read without a pause of the lab's loop: 30 ms."""

Row = tuple[str, int, bytes, int]
"""Source, number, content hash, when it was committed: unix milliseconds."""

_NEWEST: Final = "SELECT coalesce(max(rowid), 0) FROM event"
_ROWS: Final = "SELECT source, sequence, hash, committed_at_ms FROM event WHERE rowid > ? AND rowid <= ?"
_SOURCES: Final = "SELECT number, id FROM source"


class _Found(NamedTuple):
    rows: list[tuple[int, int, bytes, int]]
    until_row: int
    newest_row: int
    names: dict[int, str]
    error: str = ""


class LedgerEvents:
    """``behind``: why the newest events are not read yet; empty when they were at the last read."""

    def __init__(self, ledger: Path) -> None:
        self.behind = ""
        self.unread = 0
        """Events that were there at the last read, and were not read."""
        self._ledger = ledger
        self._seen_row = 0
        self._names: dict[int, str] = {}
        self._reading = asyncio.Lock()

    def read(self) -> list[Row]:
        """Some of what is new, unless it is being read elsewhere."""
        if self._reading.locked():
            self.behind = "the ledger is being read"
            return []
        return self._accept(self._find(self._seen_row, self._names))

    async def read_aside(self) -> list[Row]:
        """The same in a thread, where much is new. Who is cancelled meanwhile has read nothing."""
        async with self._reading:
            return self._accept(await asyncio.to_thread(self._find, self._seen_row, self._names))

    def _find(self, seen_row: int, names: dict[int, str]) -> _Found:
        """What is new; changes nothing here, since it may run in a thread."""
        if not self._ledger.exists():
            return _Found([], seen_row, seen_row, names)
        try:
            newest_row: int = query_ledger(self._ledger, _NEWEST)[0][0]
            until_row = max(seen_row, min(newest_row, seen_row + ROWS_A_READ))
            rows = query_ledger(self._ledger, _ROWS, seen_row, until_row) if until_row > seen_row else []
            if any(row[0] not in names for row in rows):
                names = dict(query_ledger(self._ledger, _SOURCES))
        except StorageError as error:
            return _Found([], seen_row, seen_row, names, str(error))
        return _Found(rows, until_row, newest_row, names)

    def _accept(self, found: _Found) -> list[Row]:
        names = self._names = found.names
        self._seen_row = found.until_row
        self.unread = found.newest_row - found.until_row
        self.behind = found.error or (
            f"{self.unread:,} events of the ledger are not read yet" if self.unread > 0 else ""
        )
        rows = found.rows
        return [(names[one], sequence, content, at_ms) for one, sequence, content, at_ms in rows if one in names]
