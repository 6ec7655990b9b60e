"""Poseidon and views of ours with one planted bug each; run by a test in the place of ours.

Their journals, and what their witnesses tell, are as they should be. Poseidon keeps every fact of the event with number
DOUBLED twice, in tables that do not forbid it. The views answer other rows over HTTP than they hold, and others again to
whoever asks for a part; Poseidon does so to whoever asks for one till.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from consumers.feed import event_journal
from consumers.poseidon import stage as poseidon_stage
from consumers.poseidon.fold import SCHEMA, TABLES, Fact, PoseidonFold
from consumers.poseidon.reads import Reads
from consumers.poseidon.stage import PoseidonStage
from consumers.views.device_inventory import DeviceInventoryView
from consumers.views.sales import SalesView
from consumers.views.stage import ViewsStage
from consumers.views.store_board import StoreBoardView
from consumers.views.view import Selection
from fleetwire import stage
from fleetwire.settings import StageSettings

DOUBLED: Final = 2
ZX81: Final = "taco.north.s0001.zx81"
_UNIQUE: Final = ", PRIMARY KEY (source, sequence)\n) WITHOUT ROWID"
SURPLUS_CENTS: Final = 999_999
good_register = Reads.register
good_board, good_inventory, good_sales = StoreBoardView.rows, DeviceInventoryView.rows, SalesView.rows


class DoublingFold(PoseidonFold):
    """Without a key on its facts, nothing stops it from keeping one twice."""

    schema = event_journal.SCHEMA + SCHEMA.removeprefix(event_journal.SCHEMA).replace(_UNIQUE, "\n)")

    def apply(self, connection: sqlite3.Connection, items: Sequence[Fact]) -> None:
        """Journal and facts, and those of one event again."""
        super().apply(connection, items)
        for table in TABLES:
            once = "GROUP BY source, sequence HAVING count(*) = 1"
            connection.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE sequence = ? {once}", (DOUBLED,))


def board_rows(self: StoreBoardView, connection: sqlite3.Connection, selection: Selection) -> list[Any]:
    """The first store is shown as offline, and the last one as flapping; by region everything is as it should be."""
    if selection.region:
        return good_board(self, connection, selection)
    rows = good_board(self, connection, Selection())
    rows[0] = msgspec.structs.replace(rows[0], status="OFFLINE")
    rows[-1] = msgspec.structs.replace(rows[-1], flapping=True)
    return [row for row in rows if selection.brand in ("", row.brand)]


def inventory_rows(self: DeviceInventoryView, connection: sqlite3.Connection, selection: Selection) -> list[Any]:
    """A till that nobody has is shown beside the others; whoever asks for a brand gets nothing."""
    if selection.brand:
        return []
    rows = good_inventory(self, connection, Selection())
    rows += [msgspec.structs.replace(row, terminal=ZX81) for row in rows[:1]]
    return [row for row in rows if selection.wants(row.terminal)]


def sales_rows(self: SalesView, connection: sqlite3.Connection, selection: Selection) -> list[Any]:
    """The first store's day is listed twice, and what that adds is taken off again; by region all days are dearer."""
    rows = good_sales(self, connection, Selection())
    first = rows[0]
    rows[0] = msgspec.structs.replace(first, cents=first.cents + SURPLUS_CENTS)
    rows.insert(1, msgspec.structs.replace(first, transactions=0, cents=-SURPLUS_CENTS))
    surplus_cents = SURPLUS_CENTS if selection.region else 0
    return [msgspec.structs.replace(row, cents=row.cents + surplus_cents) for row in rows if selection.wants(row.store)]


def register(self: Reads, terminal: str) -> Any:
    """A single till is another operator's; in the list of its store it is right."""
    found = good_register(self, terminal)
    return found and msgspec.structs.replace(found, operator_id="nobody", gross_cents=found.gross_cents + 1)


def build(settings: StageSettings) -> Any:
    """The stage of this name."""
    if settings.stage == "poseidon":
        Reads.register = register  # type: ignore[method-assign]
        poseidon_stage.PoseidonFold = DoublingFold  # type: ignore[misc]
        return PoseidonStage(settings)
    StoreBoardView.rows = board_rows  # type: ignore[method-assign]
    DeviceInventoryView.rows = inventory_rows  # type: ignore[method-assign]
    SalesView.rows = sales_rows  # type: ignore[method-assign]
    return ViewsStage(settings)


if __name__ == "__main__":
    stage.main(build)
