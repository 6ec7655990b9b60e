"""Poseidon and views of ours with one planted bug each; run by a test in the place of ours.

Their journals, and what their witnesses tell, are as they should be. Poseidon keeps every fact of the event with number
DOUBLED twice, in tables that do not forbid it. The views answer other rows over HTTP than they hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from consumers.feed import event_journal
from consumers.poseidon import stage as poseidon_stage
from consumers.poseidon.fold import SCHEMA, TABLES, Fact, PoseidonFold
from consumers.poseidon.stage import PoseidonStage
from consumers.views.device_inventory import DeviceInventoryView
from consumers.views.sales import SalesView
from consumers.views.stage import ViewsStage
from consumers.views.store_board import StoreBoardView
from fleetwire import stage
from fleetwire.settings import StageSettings

DOUBLED: Final = 2
ZX81: Final = "taco.north.s0001.zx81"
_UNIQUE: Final = ", PRIMARY KEY (source, sequence)\n) WITHOUT ROWID"
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


def board_rows(self: StoreBoardView, *about: Any) -> list[Any]:
    """The first store is shown as offline."""
    rows = good_board(self, *about)
    return [msgspec.structs.replace(row, status="OFFLINE") for row in rows[:1]] + rows[1:]


def inventory_rows(self: DeviceInventoryView, *about: Any) -> list[Any]:
    """A till that nobody has is shown beside the others."""
    rows = good_inventory(self, *about)
    return rows + [msgspec.structs.replace(row, terminal=ZX81) for row in rows[:1]]


def sales_rows(self: SalesView, *about: Any) -> list[Any]:
    """The first store's day is listed twice."""
    rows = good_sales(self, *about)
    return rows[:1] + rows


def build(settings: StageSettings) -> Any:
    """The stage of this name."""
    if settings.stage == "poseidon":
        poseidon_stage.PoseidonFold = DoublingFold  # type: ignore[misc]
        return PoseidonStage(settings)
    StoreBoardView.rows = board_rows  # type: ignore[method-assign]
    DeviceInventoryView.rows = inventory_rows  # type: ignore[method-assign]
    SalesView.rows = sales_rows  # type: ignore[method-assign]
    return ViewsStage(settings)


if __name__ == "__main__":
    stage.main(build)
