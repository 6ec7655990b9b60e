"""The three views by themselves: totals and registers that no order and no repetition change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.feed.fold_file import FoldFile
from consumers.feed.lines import Change
from consumers.views.device_inventory import DeviceInventoryView
from consumers.views.sales import SalesView
from consumers.views.store_board import StoreBoardView
from consumers.views.view import Selection, View
from fleetwire.clock import now_ms
from fleetwire.documents import DeviceDocument
from fleetwire.events import StoreStatus
from fleetwire.witness import Witness
from tests.feed.events import DAY, TIME, Written, control, returned, sale, void

TILL = "taco.west.s0001.r01"
OTHER = "pizza.east.s0002.r01"
EVENTS = [
    control(TILL, 1, "SIGN_ON"),
    sale(TILL, 2, 1_000),
    sale(TILL, 3, 500, day="2026-11-23"),
    sale(TILL, 4, 9_999, training=True),
    returned(TILL, 5, 200, f"{TILL}.2"),
    void(TILL, 6, 1_000, f"{TILL}.2"),
    sale(OTHER, 1, 77),
]
TOTALS = {
    f"taco.west.s0001 {DAY}": [3, 1_000 - 200 - 1_000],
    "taco.west.s0001 2026-11-23": [1, 500],
    f"pizza.east.s0002 {DAY}": [1, 77],
}


def changes(events: list[Written]) -> list[Change]:
    """The events as a feed gives them."""
    return [Change("1", one.document["_id"], one.document["_rev"], False, one.json) for one in events]


def status(revision: int, value: str, generation: int = 1) -> Change:
    """A store's status document."""
    body = StoreStatus(
        brand="taco", region="west", store="s0001", status=value, flapping=False,  # type: ignore[arg-type]
        terminals_online=1, terminals_total=3, revision=revision, time=TIME,
    )  # fmt: skip
    return Change("1", "status:taco.west.s0001", f"{generation}-a", False, msgspec.json.encode(body))


def device(boot: int, bd_seq: int, generation: int = 1, *, online: bool = True) -> Change:
    """A terminal's device document."""
    body = DeviceDocument(
        terminal=TILL, online=online, reason="birth" if online else "lost", boot=boot, bd_seq=bd_seq,
        kind="register", serial_number="1", model="m", app_version="1", os_version="1",
    )  # fmt: skip
    return Change("1", f"device:{TILL}", f"{generation}-a", False, msgspec.json.encode(body))


def opened(folder: Path, view: View[Any]) -> FoldFile[Any]:
    """The view's file."""
    return FoldFile(folder / f"{view.name}.sqlite", view)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(len(EVENTS))), repeated=st.lists(st.integers(0, len(EVENTS) - 1), max_size=8))
def test_sales_are_the_same_in_any_order_and_with_any_repeats(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], repeated: list[int]
) -> None:
    """Every transaction counts once; training and control do not count."""
    file = opened(tmp_path_factory.mktemp("sales"), SalesView(Witness()))
    file.commit(changes([EVENTS[at] for at in order[:3]]), [], "1")
    file.commit(changes([EVENTS[at] for at in [*repeated, *order[3:], *repeated]]), [], "2")
    assert file.fold.final_read(file.path)["totals"] == TOTALS  # type: ignore[attr-defined]
    file.close()


def test_sales_are_selected_by_region_and_brand_and_witnessed(tmp_path: Path) -> None:
    """Rows carry store and day; the stage's witness has every event."""
    witness = Witness()
    view = SalesView(witness)
    file = opened(tmp_path, view)
    file.commit(changes(EVENTS), [], "7")
    assert [row.cents for row in view.rows(file.connection, Selection(region="east"))] == [77]
    assert len(view.rows(file.connection, Selection(brand="taco"))) == 2
    assert len(view.rows(file.connection, Selection(brand="taco", region="east"))) == 0
    assert witness.handed_on[TILL].to_list() == [(1, 6)]


def test_an_amount_that_no_till_can_take_is_skipped(tmp_path: Path) -> None:
    """It can neither overflow a total nor stop the sale behind it."""
    view = SalesView(Witness())
    file = opened(tmp_path, view)
    file.commit(changes([sale(TILL, 1, 2**62), sale(TILL, 2, 5)]), [], "2")
    assert file.skipped == {"schema": 1}
    assert view.final_read(file.path)["totals"] == {f"taco.west.s0001 {DAY}": [1, 5]}


@given(order=st.permutations([(1, "OPEN"), (2, "DEGRADED"), (3, "OFFLINE")]))
@settings(max_examples=6, deadline=None)
def test_the_greatest_revision_of_a_status_wins(
    tmp_path_factory: pytest.TempPathFactory, order: list[tuple[int, str]]
) -> None:
    """An older status that comes late, or again, changes nothing."""
    witness = Witness()
    view = StoreBoardView(witness)
    file = opened(tmp_path_factory.mktemp("board"), view)
    for revision, value in order:
        file.commit([status(revision, value)], [], "1")
    assert view.final_read(file.path) == {"registers": {"taco.west.s0001": "OFFLINE"}}
    snapshot = witness.snapshot("views", 1, 1, full=True, loop_stall_ms=0)
    assert snapshot.state == {"store_board": {"taco.west.s0001": "OFFLINE"}}
    file.close()


def test_the_greatest_boot_and_connection_of_a_device_wins_and_the_latest_document_at_a_draw(tmp_path: Path) -> None:
    """A ghost's death is ignored, the death of the same connection is not."""
    view = DeviceInventoryView(Witness())
    file = opened(tmp_path, view)
    file.commit([device(2, 1, 3), device(1, 9, 4, online=False)], [], "1")
    assert view.final_read(file.path)["registers"] == {TILL: [True, 2, 1]}
    file.commit([device(2, 1, 5, online=False), device(2, 1, 3)], [], "2")
    assert view.final_read(file.path)["registers"] == {TILL: [False, 2, 1]}
    file.close()
    witness = Witness()
    again = opened(tmp_path, DeviceInventoryView(witness))
    assert witness.snapshot("views", 1, 1, full=True, loop_stall_ms=0).state == {
        "device_inventory": {TILL: [False, 2, 1]}
    }
    again.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (status(1, "ON_FIRE"), "schema"),
        (status(-1, "OPEN"), "schema"),
        (status(1, "OPEN")._replace(id="status:taco.west.s0002"), "no_key"),
        (status(1, "OPEN")._replace(revision="first"), "schema"),
        (status(1, "OPEN")._replace(document=b"{"), "schema"),
        (status(1, "OPEN")._replace(deleted=True, document=b""), "key_conflict"),
    ],
)
def test_a_register_that_cannot_be_used_is_skipped(tmp_path: Path, change: Change, reason: str) -> None:
    """The board shows what it showed before."""
    view = StoreBoardView(Witness())
    file = opened(tmp_path, view)
    file.commit([change], [], "1")
    assert file.skipped == {reason: 1}
    assert view.final_read(file.path) == {"registers": {}}


@pytest.mark.parametrize("make", [SalesView, StoreBoardView, DeviceInventoryView])
def test_forgetting_leaves_nothing_behind(tmp_path: Path, make: Any) -> None:
    """Every table of the view is empty afterwards, but for the one that says since when it is."""
    file = opened(tmp_path, make(Witness()))
    file.commit([*changes(EVENTS), status(1, "OPEN"), device(1, 1)], [], "1")
    begun_at_ms = file.begun_at_ms
    while now_ms() <= begun_at_ms:
        pass
    file.forget()
    assert file.begun_at_ms > begun_at_ms > 0
    assert file.connection.execute("SELECT at_ms FROM begun").fetchall() == [(file.begun_at_ms,)]
    tables = file.connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'begun'"
    ).fetchall()
    counts = {name: file.connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables}
    assert set(counts.values()) == {0}, counts
