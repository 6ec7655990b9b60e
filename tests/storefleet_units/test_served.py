"""What endpoints answer, read as a client reads it: rows by name, and what is no sound answer."""

from __future__ import annotations

import pytest
from msgspec import Raw, json

from fleetwire.identity import Key
from storefleet import served as served_module
from storefleet.served import NotServed, Places, read_device, read_status, read_till, registers_of, served, totals_of
from tests.storefleet_units.answering import answering_by_path

STATUS = {
    "brand": "taco", "region": "west", "store": "s0001", "status": "OPEN", "flapping": True, "terminals_online": 2,
    "terminals_total": 3, "revision": 9, "time": "2026-01-05T18:00:00.000Z",
}  # fmt: skip
DEVICE = {
    "channels": ["device"], "terminal": "taco.west.s0001.r01", "online": True, "reason": "birth", "boot": 1,
    "bd_seq": 2, "kind": "register", "serial_number": "R1", "model": "Counter 15", "app_version": "8", "os_version": "1",
}  # fmt: skip
SALES = {"store": "taco.west.s0001", "business_day_date": "2026-01-05", "transactions": 2, "cents": 300}
ORDER = {
    "key": "taco.west.s0001.r01.4", "known": True, "transaction_type": "SALE", "business_day_date": "2026-01-05",
    "receipt_number": "r01-4", "end_time": "2026-01-05T18:00:00.000Z", "training": False, "net_cents": 1,
    "tax_cents": 2, "grand_cents": 3, "voided_by": [], "returned_by": ["taco.west.s0001.r01.5"],
}  # fmt: skip
NOWHERE = Places([("taco", "west")], ["taco.west.s0001", "taco.west.s0002"])


def raw(*rows: object) -> list[Raw]:
    """Rows as they come."""
    return [Raw(json.encode(row)) for row in rows]


def test_rows_as_registers() -> None:
    """All that is judged of a store and a terminal."""
    assert registers_of(raw(STATUS), read_status) == {"taco.west.s0001": ["OPEN", 2, 3]}
    assert registers_of(raw(DEVICE), read_device) == {
        "taco.west.s0001.r01": [True, "birth", 1, 2, "register", "R1", "Counter 15", "8", "1"]
    }


def test_a_row_that_is_listed_twice_or_cannot_be_read_is_another_register() -> None:
    """Nobody takes it for the truth, even when both say the same."""
    rows = [*raw(STATUS, {**STATUS, "status": "ON_FIRE"}, STATUS), Raw(b"7")]
    found = registers_of(rows, read_status)
    assert found["taco.west.s0001"] == ["listed more than once", ["OPEN", 2, 3], ["OPEN", 2, 3]]
    assert (sorted(found), found["row 3"]) == (["row 1", "row 3", "taco.west.s0001"], "7")


def test_a_day_that_is_listed_twice_is_another_total() -> None:
    """Also when all that is listed adds up to what it should; a row that cannot be read is a total that nobody has."""
    again = {**SALES, "transactions": 0, "cents": -300}
    assert totals_of(raw(SALES, again, SALES, {**SALES, "store": "x"})) == [
        ("taco.west.s0001", "2026-01-05", 2, 300), ("taco.west.s0001", "2026-01-05 listed again in row 1", 0, -300),
        ("taco.west.s0001", "2026-01-05 listed again in row 2", 2, 300), ("x", "2026-01-05", 2, 300),
    ]  # fmt: skip
    assert totals_of(raw({"store": 7})) == [("row 0", '{"store":7}', 1, 0)]


async def test_tills_and_orders_over_http() -> None:
    """Every store is asked; an order that is not there is none, one that cannot be read is no other."""
    till = {
        "terminal": "taco.west.s0001.r01", "last_sequence": 5, "operator_id": "op-1", "expected_cash_cents": 7,
        "business_day_date": "2026-01-05", "sales_count": 1, "gross_cents": 3, "voids_count": 0, "voided_cents": 0,
    }  # fmt: skip
    keys = [Key("taco.west.s0001.r01", number) for number in (4, 5, 6, 7)]
    answers = {
        "/registers?store=taco.west.s0001": [till],
        "/registers?store=taco.west.s0002": [{"terminal": "half"}],
        "/orders/taco.west.s0001.r01.4": ORDER,
        "/orders/taco.west.s0001.r01.6": {**ORDER, "grand_cents": "3"},
        "/orders/taco.west.s0001.r01.7": ORDER,
    }
    async with answering_by_path(answers) as url, served(url) as one:
        tills = registers_of(await one.till_rows(NOWHERE.stores), read_till)
        orders = await one.orders(keys)
    assert tills["taco.west.s0001.r01"] == [5, "op-1", 7, "2026-01-05", 1, 3, 0, 0]
    assert len(tills) == 2
    receipt = ("SALE", "2026-01-05", "r01-4", "2026-01-05T18:00:00.000Z", 0, 1, 2, 3)
    assert [order.receipt for order in orders.values()] == [receipt, None, None, None]
    assert orders[keys[0]].returned_by == ["taco.west.s0001.r01.5"]
    assert (orders[keys[1]].voided_by, orders[keys[2]].voided_by) == ([], ["unreadable"])


async def test_a_full_answer_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a part is full again, nobody knows what was left out."""
    monkeypatch.setattr(served_module, "FULL_ROWS", 2)
    full = {"state": {}, "rows": [STATUS, STATUS]}
    part = {"state": {}, "rows": [STATUS]}
    async with (
        answering_by_path({"/views/a": full, "/views/a?brand=taco&region=west": part}) as url,
        served(url) as one,
    ):
        assert len(await one.rows("a", NOWHERE)) == 1
    async with (
        answering_by_path({"/views/a": full, "/views/a?brand=taco&region=west": full}) as url,
        served(url) as one,
    ):
        with pytest.raises(NotServed, match="more rows"):
            await one.rows("a", NOWHERE)
    devices = {
        "/devices": [DEVICE, DEVICE],
        "/devices?store=taco.west.s0001": [DEVICE],
        "/devices?store=taco.west.s0002": [],
    }
    async with answering_by_path(devices) as url, served(url) as one:
        assert len(await one.devices(NOWHERE)) == 1


@pytest.mark.parametrize(
    "answer",
    [500, b"{", b"[]", b'{"state":{},"rows":7}', b"\xff", {"state": {"error": "no file"}, "rows": []}, b" " * 2_000],
    ids=["500", "half", "list", "no rows", "no text", "not open", "too long"],
)
async def test_what_is_no_answer(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that does not say what it shows was not read."""
    monkeypatch.setattr(served_module, "LIMIT_BYTES", 1_000)
    async with (
        answering_by_path({"/views/a": answer, "/registers?store=taco.west.s0001": answer}) as url,
        served(url) as one,
    ):
        with pytest.raises(NotServed):
            await one.rows("a", NOWHERE)
        with pytest.raises(NotServed):
            await one.till_rows(NOWHERE.stores)


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a closed port nor a silent one keeps the run waiting."""
    async with answering_by_path({}) as url:
        pass
    async with served(url) as one:
        with pytest.raises(NotServed):
            await one.rows("a", NOWHERE)
