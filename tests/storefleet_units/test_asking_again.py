"""Final reads of stages that come late, answer nonsense, or answer now this and now that: no view costs another one, and
none chooses how it is judged."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emulator.fleet import Fleet
from fleetwire.errors import ControlError
from fleetwire.ledger_format import DDL
from tests.storefleet_units.asked_lab import AskedLab

TILL = "taco.west.s0001.r01"
SOURCES = {TILL: {"intervals": [[1, 1]], "hashes": "AAAAAAAAAAA=", "applied_at_ms": "AQAAAAAAAAA="}}
ALL_VIEWS = {"orders", "tills", "sales", "store_board", "device_inventory", "olympus_dgs"}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with one till that is online."""
    path = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(DDL)
        connection.execute("INSERT INTO source (number, id) VALUES (1, ?)", (TILL,))
        connection.execute("INSERT INTO register VALUES (1, 1, 'birth', 3, 4, 0)")
        connection.commit()
    return path


def sales(cents: int) -> list[Any]:
    """Rows of one day."""
    return [{"store": TILL[:-4], "business_day_date": "2026-01-05", "transactions": 1, "cents": cents}]


def served_rightly(path: str) -> object:
    """What must be shown, by path."""
    from storefleet.expected_registers import hardware_of

    kind, serial, model, app, system = hardware_of(Fleet.from_options(stores=2, seed=7)).get(TILL, ("",) * 5)
    device = {
        "channels": ["device"], "terminal": TILL, "online": True, "reason": "birth", "boot": 3, "bd_seq": 4,
        "kind": kind, "serial_number": serial, "model": model, "app_version": app, "os_version": system,
    }  # fmt: skip
    brand, region, store, _ = TILL.split(".")
    status = {
        "brand": brand, "region": region, "store": store, "status": "OPEN", "flapping": False, "terminals_online": 1,
        "terminals_total": 1, "revision": 1, "time": "2026-01-05T18:00:00.000Z",
    }  # fmt: skip
    rows = {"/views/sales": sales(5), "/views/store-board": [status], "/views/device-inventory": [device]}
    if path in rows:
        return {"state": {}, "rows": rows[path]}
    return {"/devices": [device], "/registers": []}.get(path, 404)


def told_rightly(stage: str, method: str, params: Any) -> Any:
    """What stages say of their views."""
    views = {"poseidon": {"orders": {"sources": SOURCES}}, "views": {"sales": {"sources": SOURCES}}}
    return {"views": views.get(stage, {}), "positions": {}}


def lab_with(serve: Callable[[str], object] = served_rightly, tell: Any = told_rightly, **others: Any) -> AskedLab:
    """With our three stages, and no gateway."""
    return AskedLab({"poseidon", "views", "olympus_dgs"}, serve, tell, **others)


def differing(read: Any) -> bool:
    """Whether a view of registers is judged wrong."""
    return bool(read.registers != read.registers_expected)


async def test_all_is_right_at_once(ledger: Path) -> None:
    """Nobody is waited for."""
    lab = lab_with()
    reads = await lab.read(ledger, for_s=60.0)
    assert (reads.views.keys(), lab.waited) == (ALL_VIEWS, [])
    assert not any(differing(reads.views[view]) for view in ("store_board", "device_inventory", "olympus_dgs"))
    assert reads.views["sales"].totals == [(TILL[:-4], "2026-01-05", 1, 5)]


async def test_what_is_no_view_of_the_run_is_not_waited_for(ledger: Path) -> None:
    """Without olympus-dgs nothing comes to the device inventory: nobody asks whether it differs."""
    lab = lab_with(lambda path: [] if path == "/views/device-inventory" else served_rightly(path))
    lab.not_judged = {"device_inventory"}
    reads = await lab.read(ledger, for_s=60.0)
    assert (reads.views.keys(), lab.waited) == (ALL_VIEWS - {"device_inventory"}, [])


async def test_stages_that_were_just_started(ledger: Path) -> None:
    """Connected a little later, serving later still: all is read."""

    def serve(path: str) -> object:
        if path == "/_changes":
            return {"results": [], "last_seq": "0"} if next(gateway) > 0 else 503
        return served_rightly(path) if next(others) >= 5 else 503

    gateway, others = itertools.count(), itertools.count()
    lab = lab_with(serve, connects_s=0.5)
    lab.plan.stages.add("gateway")
    reads = await lab.read(ledger, for_s=60.0)
    assert reads.views.keys() == ALL_VIEWS | {"gateway"}
    assert any("poseidon does not answer" in what for what in lab.waited)


async def test_a_stage_that_goes_away_while_it_is_asked(ledger: Path) -> None:
    """It is asked again, from the beginning; one that refuses is not."""
    calls = itertools.count()

    def tell(stage: str, method: str, params: Any) -> Any:
        if stage == "poseidon" and next(calls) < 2:
            raise ControlError("final_read: the connection ended", definite=False)
        if stage == "views":
            raise ControlError("final_read: no such method")
        return told_rightly(stage, method, params)

    reads = await lab_with(tell=tell).read(ledger, for_s=30.0)
    assert reads.views.keys() == ALL_VIEWS - {"sales"}


async def test_stages_that_are_dead_cost_the_time_once(ledger: Path) -> None:
    """However many there are, all of them wait for the same moment."""
    from storefleet.final_reads import ASKED_EVERY_S

    begun_s, pauses = time.monotonic(), 2.0 / ASKED_EVERY_S
    lab = lab_with(connects_s=3600.0)
    reads = await lab.read(ledger, for_s=2.0)
    assert reads.views == {}
    assert time.monotonic() - begun_s >= 2.0
    # None is shorter, however busy the machine is; one more that waits as long would double their number.
    assert len(lab.waited) <= pauses + 2


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (view, told)
        for view in ("orders", "sales")
        for told in (
            7, [], {}, {"sources": 7}, {"sources": {TILL: 7}}, {"sources": {TILL: {"intervals": [[1, 1]], "hashes": 7}}},
            {"sources": SOURCES, "following": "2"}, {"sources": SOURCES, "following": -1}, {"following": 2},
            {"sources": [1], "following": 2}, {"sources": SOURCES, "following": 2},
        )
    ],
    ids=str,
)  # fmt: skip
async def test_an_answer_that_is_none_costs_its_view(ledger: Path, view: str, told: object) -> None:
    """Also one that names the same page for ever; all the others are read."""
    stage = {"orders": "poseidon", "sales": "views"}[view]

    def tell(asked: str, method: str, params: Any) -> Any:
        return {"views": {view: told}} if asked == stage else told_rightly(asked, method, params)

    reads = await lab_with(tell=tell).read(ledger, for_s=1.0)
    assert reads.views.keys() == ALL_VIEWS - ({"orders", "tills"} if view == "orders" else {"sales"})


async def test_times_that_do_not_fit_cost_the_tills(ledger: Path) -> None:
    """Who does not say plainly when it applied what is not judged by it; its events are."""
    broken = {TILL: {**SOURCES[TILL], "applied_at_ms": "AAAA"}}

    def tell(stage: str, method: str, params: Any) -> Any:
        answer = told_rightly(stage, method, params)
        return {"views": {"orders": {"sources": broken}}} if stage == "poseidon" else answer

    assert (await lab_with(tell=tell).read(ledger, for_s=1.0)).views.keys() == ALL_VIEWS - {"tills"}


async def test_page_by_page(ledger: Path) -> None:
    """What follows is asked for until nothing follows; a view of which a page is missing is unread."""
    asked: list[Any] = []

    def tell(stage: str, method: str, params: Any) -> Any:
        if stage != "poseidon":
            return told_rightly(stage, method, params)
        asked.append(params)
        begin = params.get("following", {}).get("orders", 1)
        source = {f"taco.west.s0001.r0{begin}": SOURCES[TILL]}
        return {"views": {"orders": {"sources": source, "following": begin + 1 if begin < 3 else 0}}}

    reads = await lab_with(tell=tell).read(ledger, for_s=1.0)
    assert asked == [{}, {"following": {"orders": 2}}, {"following": {"orders": 3}}]
    assert sorted(reads.views["orders"].events or {}) == [f"taco.west.s0001.r0{number}" for number in (1, 2, 3)]

    def stop_short(stage: str, method: str, params: Any) -> Any:
        return {"views": {}} if params else tell(stage, method, params)

    assert "orders" not in (await lab_with(tell=stop_short).read(ledger, for_s=1.0)).views


@pytest.mark.parametrize("answer", [7, {}, {"sources": 7}, {"sources": {TILL: 7}}], ids=str)
async def test_stored_times_that_are_none(ledger: Path, answer: object) -> None:
    """They are not known then; the gateway's documents are read all the same."""

    def serve(path: str) -> object:
        return {"results": [], "last_seq": "0"} if path == "/_changes" else served_rightly(path)

    lab = AskedLab({"gateway"}, serve, lambda *_: answer)
    assert (await lab.read(ledger, for_s=0.0)).views.keys() == {"gateway"}


async def test_a_gateway_that_cannot_be_read_costs_nobody_else(ledger: Path) -> None:
    """Its feed is no text."""

    def serve(path: str) -> object:
        return b"\xff" if path == "/_changes" else served_rightly(path)

    lab = lab_with(serve)
    lab.plan.stages.add("gateway")
    assert (await lab.read(ledger, for_s=1.0)).views.keys() == ALL_VIEWS


def served_falsely(path: str, right_of: Iterator[bool], false: object) -> Callable[[str], object]:
    """This path is now right and now not."""

    def serve(asked: str) -> object:
        return false if asked == path and not next(right_of) else served_rightly(asked)

    return serve


FALSE = {
    "store_board": ("/views/store-board", {"state": {}, "rows": []}),
    "device_inventory": ("/views/device-inventory", {"state": {}, "rows": []}),
    "olympus_dgs": ("/devices", []),
}


@pytest.mark.parametrize("view", FALSE)
@pytest.mark.parametrize(
    "rights", [[False] * 9 + [True], [True, False], [False, True, True]], ids=["9/10", "1/2", "1/3"]
)
async def test_a_view_that_is_now_right_and_now_wrong(ledger: Path, view: str, rights: list[bool]) -> None:
    """It is judged by a wrong answer, whichever came last; a single lucky one is not enough, nor are lucky pairs."""
    path, false = FALSE[view]
    lab = lab_with(served_falsely(path, itertools.cycle(rights), false))
    reads = await lab.read(ledger, for_s=1.5)
    assert differing(reads.views[view])
    assert {name for name in FALSE if differing(reads.views[name])} == {view}


@pytest.mark.parametrize("view", FALSE)
async def test_a_view_that_comes_right(ledger: Path, view: str) -> None:
    """What was under way arrives: then it stays right, and is."""
    path, false = FALSE[view]
    rights = itertools.chain([False, True, False, False], itertools.repeat(True))
    reads = await lab_with(served_falsely(path, rights, false)).read(ledger, for_s=60.0)
    assert not differing(reads.views[view])


async def test_totals_that_never_settle(ledger: Path) -> None:
    """They are judged as a client got them last; what the stage says of them itself counts for nothing."""
    cents = itertools.count(100)

    def serve(path: str) -> object:
        return {"state": {}, "rows": sales(next(cents))} if path == "/views/sales" else served_rightly(path)

    def tell(stage: str, method: str, params: Any) -> Any:
        answer = told_rightly(stage, method, params)
        if stage == "views":
            answer["views"]["sales"] |= {"totals": {f"{TILL[:-4]} 2026-01-05": [1, 5]}}
        return answer

    reads = await lab_with(serve, tell).read(ledger, for_s=1.0)
    ((*_, shown),) = reads.views["sales"].totals or []
    assert shown == next(cents) - 1


async def test_totals_that_settle(ledger: Path) -> None:
    """Asked again until they stay the same."""
    cents = itertools.chain([1, 2, 3], itertools.repeat(5))

    def serve(path: str) -> object:
        return {"state": {}, "rows": sales(next(cents))} if path == "/views/sales" else served_rightly(path)

    reads = await lab_with(serve).read(ledger, for_s=60.0)
    assert reads.views["sales"].totals == [(TILL[:-4], "2026-01-05", 1, 5)]


async def test_the_lab_goes_on_while_the_truth_is_worked_out(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is worked out in a thread, and who differs is not asked again before as long has passed as it took."""
    from storefleet import final_reads

    expected, begun_s = final_reads.expected_registers, []

    def slow(*arguments: Any) -> Any:
        begun_s.append(time.monotonic())
        time.sleep(0.2)
        return expected(*arguments)

    def now_s() -> float:
        """In the third try the time is over."""
        return time.monotonic() + 3600.0 * (len(begun_s) >= 5)

    monkeypatch.setattr(final_reads, "expected_registers", slow)
    monkeypatch.setattr(final_reads, "time", SimpleNamespace(monotonic=now_s))
    lab = lab_with(served_falsely("/devices", itertools.repeat(False), []))
    lab.plan.stages = {"olympus_dgs"}
    assert differing((await lab.read(ledger, for_s=600.0)).views["olympus_dgs"])
    tries_s = begun_s[::2]
    assert len(tries_s) == 3
    assert all(later - earlier >= 0.8 for earlier, later in itertools.pairwise(tries_s))


OTHERWISE = {
    "store_board": "/views/store-board?brand=taco",
    "device_inventory": "/views/device-inventory?region=west",
    "olympus_dgs": f"/devices/{TILL}",
    "tills": "/registers/taco.north.s0001.r01",
    "sales": "/views/sales?brand=taco&region=west",
}
TILL_ROW = {
    "terminal": "taco.north.s0001.r01", "last_sequence": 1, "operator_id": "op-1", "expected_cash_cents": 0,
    "business_day_date": "", "sales_count": 0, "gross_cents": 0, "voids_count": 0, "voided_cents": 0,
}  # fmt: skip


@pytest.mark.parametrize("view", OTHERWISE)
@pytest.mark.parametrize(
    "false", [404, b"\xff", {"state": {}, "rows": []}, []], ids=["404", "no text", "no row", "list"]
)
async def test_what_is_listed_and_not_given_to_who_asks_for_it(ledger: Path, view: str, false: object) -> None:
    """A part, a single one: whoever gets something else there is told so by name, and everything else is right."""
    lab = lab_with(lambda path: [TILL_ROW] if path == "/registers" else served_rightly(path))
    lab.answers_to = {OTHERWISE[view]: false}
    reads = await lab.read(ledger, for_s=0.0)
    paths = {name: {path for path in read.registers or {} if path[:1] == "/"} for name, read in reads.views.items()}
    assert paths == {name: {OTHERWISE[view]} if name == view != "sales" else set() for name in ALL_VIEWS}
    assert [name for name, *_ in reads.views["sales"].totals or [] if name[:1] == "/"] == (
        [OTHERWISE[view]] if view == "sales" else []
    )


@pytest.mark.parametrize(
    ("view", "document"),
    [("store_board", "status:taco.west.s0001"), ("olympus_dgs", f"device:{TILL}")],
)
@pytest.mark.parametrize("change", [None, {"status": "OFFLINE", "online": False}, {"_id": "other"}], ids=str)
async def test_documents_of_stores_and_terminals(ledger: Path, view: str, document: str, change: Any) -> None:
    """One that the gateway does not give out any more, or that says something else, differs beside the view's register."""
    lab = lab_with(lambda path: {"results": [], "last_seq": "0"} if path == "/_changes" else served_rightly(path))
    lab.plan.stages.add("gateway")
    lab.documents_changed = {document: change}
    reads = await lab.read(ledger, for_s=0.0)
    assert {name for name, read in reads.views.items() if read.registers is not None and differing(read)} == {view}
    found, expected = reads.views[view].registers or {}, reads.views[view].registers_expected
    wrong = {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}
    assert {name for name in wrong if "row " not in name} == {document}


async def test_a_field_that_no_register_judges(ledger: Path) -> None:
    """Who shows a store as flapping, or in another century, while the document says otherwise, is found by the document."""
    lab = lab_with(lambda path: {"results": [], "last_seq": "0"} if path == "/_changes" else served_rightly(path))
    lab.plan.stages.add("gateway")
    lab.documents_changed = {"status:taco.west.s0001": {"flapping": True, "time": "1999-01-01T00:00:00.000Z"}}
    reads = await lab.read(ledger, for_s=0.0)
    assert (reads.views["store_board"].registers or {}).keys() == {"taco.west.s0001", "/_changes?channels=status"}
