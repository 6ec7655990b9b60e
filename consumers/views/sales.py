"""Sales by store and business day: how many transactions and how many signed cents, kept as running totals.

An event counts once, because its journal row and its part of the total are written in one transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from consumers.feed import event_journal
from consumers.feed.event_journal import Event, EventJournal
from consumers.feed.lines import Change
from consumers.views.view import MAXIMUM_ROWS, Selection
from fleetwire.amounts import sales_contribution
from fleetwire.documents import TRANSACTION_CHANNEL
from fleetwire.errors import BadPayload
from fleetwire.witness import Witness

SCHEMA: Final = (
    event_journal.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS sales (
  store TEXT NOT NULL, business_day_date TEXT NOT NULL, transactions INTEGER NOT NULL, cents INTEGER NOT NULL,
  PRIMARY KEY (store, business_day_date)
) WITHOUT ROWID;
"""
)
_ADD: Final = """
INSERT INTO sales (store, business_day_date, transactions, cents) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET transactions = transactions + excluded.transactions, cents = cents + excluded.cents
"""
_ALL: Final = "SELECT store, business_day_date, transactions, cents FROM sales ORDER BY store, business_day_date"
_LARGEST_CENTS: Final = 1_000_000_000


class SalesRow(Struct, kw_only=True):
    """One store's business day."""

    store: str
    business_day_date: str
    transactions: int
    cents: int


class SalesView:
    """The View of channel ``transaction``; the stage's witness takes and hands on its events."""

    name = "sales"
    path = "sales"
    channel = TRANSACTION_CHANNEL
    schema = SCHEMA

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._journal = EventJournal()
        witness.report_held(self.name, self._journal.held)

    def load(self, connection: sqlite3.Connection) -> None:
        """What was applied before counts as taken and handed on by this incarnation too."""
        self._journal.load(connection)
        self._witness.resume(self._journal.applied)

    def read(self, change: Change) -> Event:
        """The event; raises BadPayload, also for an amount that no till can take."""
        event = self._journal.read(change)
        _, cents = sales_contribution(event.type, event.data)
        if abs(cents) > _LARGEST_CENTS:
            raise BadPayload("schema", f"grand_cents {cents} is beyond {_LARGEST_CENTS}")
        return event

    def apply(self, connection: sqlite3.Connection, items: Sequence[Event]) -> None:
        """Add what is new to the totals."""
        totals: dict[tuple[str, str], tuple[int, int]] = {}
        for event in self._journal.write(connection, items):
            count, cents = sales_contribution(event.type, event.data)
            if count:
                day = (event.source.rpartition(".")[0], event.business_day_date)
                counted, summed = totals.get(day, (0, 0))
                totals[day] = (counted + count, summed + cents)
        if totals:
            connection.executemany(_ADD, [(*day, *total) for day, total in totals.items()])

    def committed(self) -> None:
        """Tell the witness."""
        fresh, repeats = self._journal.committed()
        for event in fresh:
            self._witness.take(event.source, event.sequence, event.attempt)
            self._witness.hand_on(event.source, event.sequence, "counted in sales")
        for event in repeats:
            self._witness.take(event.source, event.sequence)

    def rebuild(self, connection: sqlite3.Connection) -> None:
        """Forget everything."""
        self._journal.rebuild(connection)
        connection.execute("DELETE FROM sales")

    def rows(self, connection: sqlite3.Connection, selection: Selection) -> list[Any]:
        """Totals by store and business day."""
        rows = connection.execute(_ALL)
        wanted = (row for row in rows if selection.wants(row[0]))
        return [
            SalesRow(store=store, business_day_date=day, transactions=transactions, cents=cents)
            for store, day, transactions, cents in islice(wanted, MAXIMUM_ROWS)
        ]

    def final_read(self, file: Path, begin: int = 0) -> Mapping[str, Any]:
        """``sources`` as ViewReads, and ``totals`` by ``store day``, of the same moment."""
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            totals = {f"{store} {day}": [count, cents] for store, day, count, cents in connection.execute(_ALL)}
            sources, following = event_journal.page_of(connection, begin, event_journal.PAGE_EVENTS)
        return {"sources": sources, "following": following, "totals": totals}
