"""Outcomes as the ledger gets them, read on from where the last read ended: nothing is looked at twice.

The writer is another process and goes on meanwhile. A ledger that cannot be read now is read on later.
"""

from __future__ import annotations

import logging
from pathlib import Path

from fleetwire.errors import StorageError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from storefleet.ledger_rows import query_ledger

_log = logging.getLogger(__name__)


class Outcomes:
    """What terminals were told, by source; each read looks only at what is new.

    ``refused`` is what was rejected and must not be held: a conflict's key may be, by its first content. ``applied`` is
    kept up only with ``keeps_applied``. All grow while they are used.
    """

    def __init__(self, ledger: Path, *, keeps_applied: bool) -> None:
        self.rejected: dict[str, IntervalSet] = {}
        self.refused: dict[str, IntervalSet] = {}
        self.applied: dict[str, IntervalSet] = {}
        self._ledger = ledger
        self._keeps_applied = keeps_applied
        self._applied_news: set[str] = set()
        self._seen_row = 0

    def read(self) -> set[str]:
        """Take in what is new; what cannot be read yet comes with a later call. Sources of which more was rejected."""
        if not self._ledger.exists():
            return set()
        newest = "SELECT coalesce(max(rowid), 0) FROM outcome"
        statement = (
            "SELECT id, verdict, reason, first, last FROM outcome JOIN source ON number = source"
            " WHERE outcome.rowid > ? AND outcome.rowid <= ? AND (verdict = 'rejected' OR ?)"
        )
        try:
            until_row: int = query_ledger(self._ledger, newest)[0][0]
            if until_row <= self._seen_row:
                return set()
            rows = query_ledger(self._ledger, statement, self._seen_row, until_row, self._keeps_applied)
        except StorageError as error:
            _log.warning("%s", error)
            return set()
        touched = set()
        for source, verdict, reason, first, last in rows:
            if verdict == "applied":
                self.applied.setdefault(source, IntervalSet()).add_range(first, last)
                self._applied_news.add(source)
                continue
            touched.add(source)
            self.rejected.setdefault(source, IntervalSet()).add_range(first, last)
            if reason != "key_conflict":
                self.refused.setdefault(source, IntervalSet()).add_range(first, last)
        self._seen_row = until_row
        return touched

    def take_applied_news(self) -> set[str]:
        """Sources of which more was applied since the last call, with ``keeps_applied``."""
        news, self._applied_news = self._applied_news, set()
        return news


def last_resolved_key(ledger: Path) -> Key | None:
    """The event of the newest outcome; None while there is none."""
    newest = "SELECT id, last FROM outcome JOIN source ON number = source ORDER BY outcome.rowid DESC LIMIT 1"
    try:
        rows = query_ledger(ledger, newest)
    except StorageError as error:
        _log.warning("%s", error)
        return None
    return Key(*rows[0]) if rows else None
