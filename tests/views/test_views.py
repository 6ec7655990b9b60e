"""The views as a process behind a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from fleetwire.errors import ControlError
from tests.feed.events import DAY, sale
from tests.feed.laboratory import DEADLINE_S, Laboratory, RunningStage, held, truth, until
from tests.views.test_folds import EVENTS, TILL, TOTALS, device, status

MODULE = "consumers.views"
SPOILS = {
    "sales": "UPDATE sales SET cents = cents + 1",
    "store_board": "UPDATE register SET major = 99, value = '\"OFFLINE\"'",
    "device_inventory": "UPDATE register SET major = 99, value = '[false, 99, 99]'",
}


def spoil(path: Path, statement: str) -> None:
    """Change a view's table behind its back."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


async def write_registers(lab: Laboratory) -> None:
    """A status and a device in the gateway."""
    for change, channel in ((status(1, "OPEN"), "status"), (device(1, 1), "device")):
        document = {**msgspec.json.decode(change.document), "_id": change.id, "channels": [channel]}
        rows = await lab.client.bulk_docs([msgspec.json.encode(document)], new_edits=True)
        assert not rows[0].status


async def final(views: RunningStage) -> dict[str, Any]:
    """The final read of all views."""
    result: dict[str, Any] = (await views.call("final_read"))["views"]
    return result


async def counted(views: RunningStage, count: int) -> None:
    """Wait until sales holds so many events, and the registers are there."""

    async def reached() -> bool:
        read = await final(views)
        return len(held(read["sales"])) >= count

    await until(reached, f"{count} events in sales")


async def registered(views: RunningStage) -> None:
    """Wait until both registers are there."""

    async def reached() -> bool:
        read = await final(views)
        return bool(read["store_board"]["registers"] and read["device_inventory"]["registers"])

    await until(reached, "both registers")


async def test_three_views_show_what_is_in_the_gateway(tmp_path: Path) -> None:
    """By the final read value by value, over HTTP with checkpoint and age, and in the witness."""
    async with Laboratory(tmp_path) as lab:
        await lab.start_gateway()
        views = await lab.start(MODULE, "views")
        await lab.write(EVENTS)
        await write_registers(lab)
        await counted(views, len(EVENTS))
        await registered(views)
        read = await final(views)
        assert held(read["sales"]) == truth(EVENTS)
        assert read["sales"]["totals"] == TOTALS
        assert read["store_board"]["registers"] == {"taco.west.s0001": "OPEN"}
        assert read["device_inventory"]["registers"] == {TILL: [True, 1, 1]}
        assert all(view["begun_at_ms"] and not view["skips"] for view in read.values())
        snapshot = await views.call("full_snapshot")
        assert snapshot["handed_on"][TILL] == [[1, 6]]
        assert set(snapshot["state"]) == {"store_board", "device_inventory"}
        await check_http(views.endpoints["http"])
        assert await views.stop() == 0


async def check_http(url: str) -> None:
    """Every view is served and says how far it is."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=DEADLINE_S) as http:
        states = (await http.get("/views")).json()
        assert set(states) == {"store-board", "sales", "device-inventory"}
        board = (await http.get("/views/store-board", params={"region": "west"})).json()
        assert board["rows"][0]["status"] == "OPEN"
        assert board["state"]["checkpoint"] != "0"
        assert board["state"]["age_ms"] >= 0
        assert (await http.get("/views/store-board", params={"region": "east"})).json()["rows"] == []
        sales = (await http.get("/views/sales", params={"brand": "pizza"})).json()
        assert [(row["store"], row["cents"]) for row in sales["rows"]] == [("pizza.east.s0002", 77)]
        devices = (await http.get("/views/device-inventory")).json()
        assert devices["rows"][0]["terminal"] == TILL
        assert (await http.get("/views/weather")).status_code == 404


def state(read: dict[str, Any]) -> dict[str, Any]:
    """All that a final read says of the state, without the times, which are others after a rebuild."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(read))
    for view in plain.values():
        assert view.pop("begun_at_ms") > 0
        for source in view.get("sources", {}).values():
            source.pop("applied_at_ms")
    return plain


async def test_a_rebuilt_view_ends_at_the_same_state(tmp_path: Path) -> None:
    """Spoiled by hand, forgotten and read again from the beginning, each of them; the others do not notice."""
    async with Laboratory(tmp_path) as lab:
        await lab.start_gateway()
        views = await lab.start(MODULE, "views")
        await lab.write(EVENTS)
        await write_registers(lab)
        await counted(views, len(EVENTS))
        await registered(views)
        before = await final(views)
        for name in tuple(before):
            others = {other: read for other, read in before.items() if other != name}
            spoil(tmp_path / "views" / f"{name}.sqlite", SPOILS[name])
            assert state(await final(views)) != state(before)
            await views.call("rebuild", {"view": name})
            now = await final(views)
            assert {other: now[other] for other in others} == others

            async def same(wanted: dict[str, Any] = before) -> bool:
                return state(await final(views)) == state(wanted)

            await until(same, f"{name} as it was")
            now = await final(views)
            assert {other: now[other] for other in others} == others
            assert now[name]["begun_at_ms"] > before[name]["begun_at_ms"]
            before = now
        with pytest.raises(ControlError, match="no view 'weather'"):
            await views.call("rebuild", {"view": "weather"})


async def test_a_view_whose_file_is_unusable_does_not_stop_the_others(tmp_path: Path) -> None:
    """It says what is wrong, is left out of the final read, and comes to life when the file is gone."""
    async with Laboratory(tmp_path) as lab:
        broken = tmp_path / "views" / "store_board.sqlite"
        broken.parent.mkdir()
        broken.write_bytes(b"no database" * 1_000)
        await lab.start_gateway()
        views = await lab.start(MODULE, "views")
        await lab.write(EVENTS)
        await write_registers(lab)
        await counted(views, len(EVENTS))
        assert "store_board" not in await final(views)
        async with httpx.AsyncClient(base_url=views.endpoints["http"], trust_env=False, timeout=DEADLINE_S) as http:
            assert "store_board.sqlite" in (await http.get("/views")).json()["store-board"]["error"]
        broken.unlink()

        async def alive() -> bool:
            board = (await final(views)).get("store_board")
            return board is not None and board["registers"] == {"taco.west.s0001": "OPEN"}

        await until(alive, "the store board")


async def test_killed_under_load_the_views_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """kill -9 at any moment of the stream, twice: totals and values are exact in the end."""
    stores = [f"taco.west.s{store:04d}" for store in range(20)]
    events = [sale(f"{store}.r01", number, 100 + number) for number in range(1, 151) for store in stores]
    async with Laboratory(tmp_path) as lab:
        await lab.start_gateway()
        views = await lab.start(MODULE, "views")
        writing = asyncio.create_task(lab.write(events))
        for part in (500, 1_500):
            await counted(views, part)
            await views.kill()
            views = await lab.start(MODULE, "views")
        await writing
        await counted(views, len(events))
        read = await final(views)
        assert held(read["sales"]) == truth(events)
        cents = sum(100 + number for number in range(1, 151))
        assert read["sales"]["totals"] == {f"{store} {DAY}": [150, cents] for store in stores}
