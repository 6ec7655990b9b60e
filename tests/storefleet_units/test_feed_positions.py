"""What a view's feed had not come to at its final read, against a real gateway and real stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetwire.identity import Key
from storefleet.feed_positions import Unreached, read_positions
from storefleet.final_reads import read_gateway
from tests.broker import Broker
from tests.feed.events import sale
from tests.feed.laboratory import Laboratory, RunningStage, held, until

TILL = "taco.west.s0001.r01"
TILL_2 = "taco.west.s0001.r02"


async def position_after(stage: RunningStage, view: str, count: int) -> int:
    """The position that a view tells once it holds so many events."""
    found: dict[str, Any] = {}

    async def reached() -> bool:
        found.update((await stage.call("final_read"))["views"][view])
        return len(held(found)) >= count

    await until(reached, f"{view} holds {count} events")
    return read_positions(await stage.call("final_read"))[view]


@pytest.mark.parametrize(
    ("module", "stage", "view"), [("consumers.views", "views", "sales"), ("consumers.poseidon", "poseidon", "orders")]
)
async def test_what_came_behind_the_position_of_a_view(
    tmp_path: Path, broker: Broker, module: str, stage: str, view: str
) -> None:
    """All that a view holds lies before its position, all that is written later behind it."""
    async with Laboratory(tmp_path, broker.url) as lab:
        await lab.start_gateway()
        running = await lab.start(module, stage)
        await lab.write([sale(TILL, 1), sale(TILL_2, 1), sale(TILL, 2)])
        position = await position_after(running, view, 3)
        await lab.write([sale(TILL_2, 2), sale(TILL, 3), sale(TILL, 4)])
        unreached = Unreached({view: position, "all": 10**6, "none": 0})
        await read_gateway(lab.gateway_url, look_at_place=unreached.look)
    assert unreached.of(view) == {TILL_2: [(2, 2)], TILL: [(3, 4)]}
    assert unreached.of("all") == {}
    assert unreached.of("none") == {TILL: [(1, 4)], TILL_2: [(1, 2)]}
    assert unreached.of("nobody's") is None


def test_places_that_are_no_numbers_say_nothing() -> None:
    """A view without a plain position, or a gateway without plain places, is not known to be behind or up."""
    told = {"sales": "12", "orders": "12:7", "store_board": "", "device_inventory": None, "gateway": -1}
    assert read_positions({"positions": told}) == {"sales": 12}
    assert read_positions({}) == {}
    unreached = Unreached({"sales": 1})
    unreached.look(Key(TILL, 1), 2)
    unreached.look(Key(TILL, 2), "3:1")
    unreached.look(Key(TILL, 3), 4)
    assert unreached.of("sales") is None
