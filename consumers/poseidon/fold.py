"""Poseidon's state: receipts, what refers to them, who signed on, and money in the till; one row an event at most.

Nothing is updated in place. Every row is a fact under its event's key (which ones, says :mod:`fleetwire.effects`), and
what a register or an order looks like is asked of the facts, by sequence (see ``reads``). So the order in which events
come does not matter, a return or void may come before its sale, and the same event again changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from consumers.feed import event_journal
from consumers.feed.event_journal import Event, EventJournal
from consumers.feed.lines import Change
from fleetwire import bounded_json
from fleetwire.documents import TRANSACTION_CHANNEL
from fleetwire.effects import effect_of
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES
from fleetwire.plain_words import plain
from fleetwire.quoted import quoted
from fleetwire.witness import Witness

SCHEMA: Final = (
    event_journal.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS receipt (
  source INTEGER NOT NULL, sequence INTEGER NOT NULL, transaction_type TEXT NOT NULL, business_day_date TEXT NOT NULL,
  receipt_number TEXT NOT NULL, end_time TEXT NOT NULL, training INTEGER NOT NULL, net_cents INTEGER NOT NULL,
  tax_cents INTEGER NOT NULL, grand_cents INTEGER NOT NULL, cash_cents INTEGER NOT NULL, sales_count INTEGER NOT NULL,
  sales_cents INTEGER NOT NULL, PRIMARY KEY (source, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reference (  -- a return or void, and the receipt that it takes back
  source INTEGER NOT NULL, sequence INTEGER NOT NULL, kind TEXT NOT NULL, referred_key TEXT NOT NULL,
  business_day_date TEXT NOT NULL, grand_cents INTEGER NOT NULL, PRIMARY KEY (source, sequence)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reference_by_key ON reference (referred_key);
CREATE TABLE IF NOT EXISTS control (
  source INTEGER NOT NULL, sequence INTEGER NOT NULL, control_type TEXT NOT NULL, operator_id TEXT NOT NULL,
  till_id TEXT NOT NULL, business_day_date TEXT NOT NULL, PRIMARY KEY (source, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS till_movement (  -- cents that go into the drawer; a settlement empties it
  source INTEGER NOT NULL, sequence INTEGER NOT NULL, control_type TEXT NOT NULL, cents INTEGER NOT NULL,
  counted_cents INTEGER NOT NULL, PRIMARY KEY (source, sequence)
) WITHOUT ROWID;
"""
)
TABLES: Final = ("receipt", "reference", "control", "till_movement")
"""In the order of an Effect's parts."""
_COLUMNS: Final = {"receipt": 13, "reference": 6, "control": 6, "till_movement": 5}
_INSERT: Final = {
    table: f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})"  # noqa: S608 - names are ours
    for table, columns in _COLUMNS.items()
}

Row = tuple[object, ...]


class Fact(NamedTuple):
    """An event and its data in the shape of its type."""

    event: Event
    data: Struct


_decoders: Final = {name: bounded_json.Decoder(shape) for name, shape in EVENT_TYPES.items()}


class PoseidonFold:
    """The Fold of channel ``transaction``; ``on_applied`` hears of every source that has something new."""

    name = "poseidon"
    channel = TRANSACTION_CHANNEL
    schema = SCHEMA

    def __init__(self, witness: Witness, on_applied: Callable[[str], None]) -> None:
        self.journal = EventJournal()
        self._witness = witness
        self._on_applied = on_applied
        witness.report_held("orders", self.journal.held)

    def load(self, connection: sqlite3.Connection) -> None:
        """What was applied before counts as taken and handed on by this incarnation too."""
        self.journal.load(connection)
        self._witness.resume(self.journal.applied)

    def read(self, change: Change) -> Fact:
        """The event with its typed data; raises BadPayload."""
        event = self.journal.read(change)
        decoder = _decoders.get(event.type)
        if decoder is None:
            raise BadPayload("unknown_type", f"event type {quoted(event.type)}")
        try:
            return Fact(event, decoder.decode(event.raw_data))
        except msgspec.ValidationError as error:
            raise BadPayload("schema", f"{event.type}: {plain(error)}") from error

    def apply(self, connection: sqlite3.Connection, items: Sequence[Fact]) -> None:
        """Journal and facts of the events that are new."""
        data_of = {id(item.event): item.data for item in items}
        by_table: dict[str, list[Row]] = {table: [] for table in TABLES}
        for event in self.journal.write(connection, [item.event for item in items]):
            key = (self.journal.number(event.source), event.sequence)
            for table, fact in zip(TABLES, effect_of(event.business_day_date, data_of[id(event)]), strict=True):
                if fact is not None:
                    by_table[table].append((*key, *fact))
        for table, rows in by_table.items():
            if rows:
                connection.executemany(_INSERT[table], rows)

    def committed(self) -> None:
        """Witness and outcomes, now that it is durable."""
        fresh, repeats = self.journal.committed()
        witness = self._witness
        for event in fresh:
            witness.take(event.source, event.sequence, event.attempt)
            witness.hand_on(event.source, event.sequence, "applied")
        for event in repeats:
            witness.take(event.source, event.sequence)
        for source in {event.source for event in fresh}:
            self._on_applied(source)

    def rebuild(self, connection: sqlite3.Connection) -> None:
        """Forget everything."""
        self.journal.rebuild(connection)
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours
