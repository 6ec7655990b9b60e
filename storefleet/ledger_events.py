"""Events as the ledger gets them, read on from where the last read ended: nothing is looked at twice.

The writer is another process and goes on meanwhile. A ledger that cannot be read now is read on later.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from fleetwire.errors import StorageError
from storefleet.final_reads import query_ledger

ROWS_A_READ: Final = 20_000
"""So many are read without a pause of the lab's loop: 30 ms."""

Row = tuple[str, int, bytes]
"""Source, number, content hash."""

_NEWEST: Final = "SELECT coalesce(max(rowid), 0) FROM event"
_ROWS: Final = "SELECT source, sequence, hash FROM event WHERE rowid > ? AND rowid <= ?"
_SOURCES: Final = "SELECT number, id FROM source"


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
        return self._read()

    async def read_aside(self) -> list[Row]:
        """The same in a thread, where much is new."""
        async with self._reading:
            return await asyncio.to_thread(self._read)

    def _read(self) -> list[Row]:
        self.behind, self.unread = "", 0
        if not self._ledger.exists():
            return []
        try:
            newest: int = query_ledger(self._ledger, _NEWEST)[0][0]
            until = min(newest, self._seen_row + ROWS_A_READ)
            rows = query_ledger(self._ledger, _ROWS, self._seen_row, until) if until > self._seen_row else []
            if any(number not in self._names for number, _, _ in rows):
                self._names = dict(query_ledger(self._ledger, _SOURCES))
        except StorageError as error:
            self.behind = str(error)
            return []
        self._seen_row = max(self._seen_row, until)
        self.unread = newest - self._seen_row
        self.behind = f"{self.unread:,} events of the ledger are not read yet" if self.unread > 0 else ""
        names = self._names
        return [(names[number], sequence, content) for number, sequence, content in rows if number in names]
