"""olympus_dgs as a process, between a real broker and a real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import httpx
import msgspec
import pytest

from consumers.olympus_dgs.stage import OlympusStage
from fleetwire.documents import DeviceDocument
from fleetwire.errors import GatewayError
from fleetwire.identity import Terminal
from fleetwire.topics import Topics
from tests.broker import Broker
from tests.feed.laboratory import DEADLINE_S, Laboratory, RunningStage, until
from tests.olympus_dgs.test_inventory import device
from tests.parm_live.running import running, stage_settings, wire
from tests.parm_live.running import until as until_seen

ROOT = "storefleet/test"
TOPICS = Topics(ROOT)
TILLS = [Terminal("taco", "west", f"s{store:04d}", "r01") for store in range(30)]
TILL = TILLS[0]


def client_of(broker: Broker) -> aiomqtt.Client:
    """An independent client that waits as long as the tests do."""
    return aiomqtt.Client(broker.host, broker.port, timeout=DEADLINE_S)


async def start(lab: Laboratory) -> RunningStage:
    """olympus_dgs in this laboratory."""
    return await lab.start("consumers.olympus_dgs", "olympus_dgs", topic_root=ROOT)


async def say(client: aiomqtt.Client, terminal: Terminal, boot: int, bd_seq: int, *, online: bool = True) -> None:
    """PARM says the state of a terminal."""
    body = {"online": online, "reason": "birth" if online else "lost", "boot": boot, "bd_seq": bd_seq, "model": "m"}
    await client.publish(TOPICS.canonical("device", terminal), msgspec.json.encode(body), qos=1, retain=True)


async def stored(lab: Laboratory, terminal: Terminal) -> list[object] | None:
    """What the gateway says of a terminal."""
    try:
        found = await lab.client.get(f"device:{terminal.id}")
    except GatewayError:
        return None
    if found is None:
        return None
    read = msgspec.json.decode(found.body, type=DeviceDocument)
    return [read.online, read.boot, read.bd_seq]


async def becomes(lab: Laboratory, terminal: Terminal, value: list[object]) -> None:
    """Wait until the gateway says so."""

    async def is_so() -> bool:
        return await stored(lab, terminal) == value

    await until(is_so, f"{terminal.id} is {value}")


async def test_a_state_becomes_a_document_an_answer_and_a_register(tmp_path: Path, broker: Broker) -> None:
    """Birth, death and ghost, from the retained topic to gateway, HTTP, witness and final read."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as parm:
        await lab.start_gateway()
        await say(parm, TILL, 2, 0)
        olympus = await start(lab)
        await becomes(lab, TILL, [True, 2, 0])
        await say(parm, TILL, 1, 9, online=False)
        await say(parm, TILLS[1], 1, 0)
        await becomes(lab, TILLS[1], [True, 1, 0])
        assert await stored(lab, TILL) == [True, 2, 0]
        await say(parm, TILL, 2, 0, online=False)
        await becomes(lab, TILL, [False, 2, 0])
        snapshot = await olympus.call("full_snapshot")
        assert snapshot["state"]["olympus_dgs"] == {TILL.id: [False, 2, 0], TILLS[1].id: [True, 1, 0]}
        read = await olympus.call("final_read")
        assert read["views"]["olympus_dgs"]["registers"] == snapshot["state"]["olympus_dgs"]
        async with httpx.AsyncClient(base_url=olympus.endpoints["http"], trust_env=False, timeout=DEADLINE_S) as http:
            one = (await http.get(f"/devices/{TILL.id}")).json()
            assert (one["online"], one["reason"], one["model"]) == (False, "lost", "m")
            assert (await http.get("/devices", params={"store": TILL.store_id})).json() == [one]
            assert len((await http.get("/devices")).json()) == 2
            assert (await http.get("/devices/nobody")).status_code == 404
            assert (await http.get("/devices", params={"store": "*"})).status_code == 400
        assert await olympus.stop() == 0


async def test_nothing_is_lost_while_the_gateway_is_away_or_the_stage_is_killed(tmp_path: Path, broker: Broker) -> None:
    """What was said meanwhile is written when both are there again, the newest state of each terminal."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as parm:
        gateway = await lab.start_gateway()
        olympus = await start(lab)
        for terminal in TILLS:
            await say(parm, terminal, 1, 0)
        await becomes(lab, TILLS[-1], [True, 1, 0])
        await gateway.kill()
        for terminal in TILLS:
            await say(parm, terminal, 1, 0, online=False)
        await olympus.kill()
        await start(lab)
        for terminal in TILLS[:10]:
            await say(parm, terminal, 1, 1)
        await lab.start_gateway()
        for terminal in TILLS:
            await becomes(lab, terminal, [True, 1, 1] if terminal in TILLS[:10] else [False, 1, 0])


async def test_somebody_elses_newer_document_is_not_overwritten_and_an_older_one_is(
    tmp_path: Path, broker: Broker
) -> None:
    """A conflict is read again, and the greater (boot, bd_seq) wins."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as parm:
        await lab.start_gateway()
        for terminal, boot in ((TILL, 9), (TILLS[1], 1)):
            document = device(boot, 0, terminal=terminal.id)
            await lab.client.put(f"device:{terminal.id}", msgspec.json.encode(document))
        olympus = await start(lab)
        await say(parm, TILL, 5, 0)
        await say(parm, TILLS[1], 5, 0)
        await becomes(lab, TILLS[1], [True, 5, 0])

        async def adopted() -> bool:
            read = await olympus.call("final_read")
            return bool(read["views"]["olympus_dgs"]["registers"][TILL.id] == [True, 9, 0])

        await until(adopted, "the newer document is adopted")
        assert await stored(lab, TILL) == [True, 9, 0]


async def test_somebody_elses_document_beyond_all_numbers_is_replaced(tmp_path: Path, broker: Broker) -> None:
    """A boot that no SQLite integer holds is no device: it stops nothing."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as parm:
        await lab.start_gateway()
        document = device(2**70, 0, terminal=TILL.id)
        await lab.client.put(f"device:{TILL.id}", msgspec.json.encode(document))
        await start(lab)
        await say(parm, TILL, 5, 0)
        await becomes(lab, TILL, [True, 5, 0])


async def test_a_bad_state_becomes_a_dead_letter_and_stops_nothing(tmp_path: Path, broker: Broker) -> None:
    """With stage, reason and the original bytes; the state behind it is written; a cleared register is no state."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as parm:
        await parm.subscribe(f"{ROOT}/dead-letter/#", qos=1)
        await lab.start_gateway()
        olympus = await start(lab)
        await parm.publish(TOPICS.canonical("device", TILL), b"{broken", qos=1, retain=True)
        async with asyncio.timeout(DEADLINE_S):
            letter = await anext(parm.messages)
        assert str(letter.topic) == f"{ROOT}/dead-letter/olympus_dgs/malformed_json/{TILL.id}"
        assert letter.payload == b"{broken"
        await parm.publish(TOPICS.canonical("device", TILL), b"", qos=1, retain=True)
        await say(parm, TILL, 1, 0)
        await becomes(lab, TILL, [True, 1, 0])
        snapshot = await olympus.call("full_snapshot")
        assert snapshot["rejects"] == {"malformed_json": 1}

        async def all_acknowledged() -> bool:
            counters = (await olympus.call("full_snapshot"))["counters"]
            return bool(counters["backlog"] == 0 and counters["emptied_total"] == 1)

        await until(all_acknowledged, "nothing is left in hand")


async def test_the_feed_of_states_survives_a_broker_that_comes_late(
    tmp_path: Path, make_broker: Callable[..., Broker]
) -> None:
    """The stage is ready without a broker, and hears of every terminal once there is one."""
    broker = make_broker().start()
    broker.kill()
    async with Laboratory(tmp_path, broker.url) as lab:
        await lab.start_gateway()
        await start(lab)
        broker.restart()
        async with client_of(broker) as parm:
            await say(parm, TILL, 1, 0)
            await becomes(lab, TILL, [True, 1, 0])


@pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
async def test_bad_registers_do_not_stop_reading(tmp_path: Path, broker: Broker) -> None:
    """More of them in one read than may be held: each is a letter, though the same session reads the PUBACKs."""
    settings = stage_settings("olympus_dgs", broker, tmp_path, gateway_url="http://127.0.0.1:9/fleet")
    stage = OlympusStage(settings)
    async with wire(broker, "dead-letter/#") as parm, running(stage):
        stage._client._backlog_limit = 4
        await stage._client.subscribed.wait()
        await asyncio.gather(*(parm.publish(TOPICS.canonical("device", till), b"[") for till in TILLS))
        await until_seen(lambda: len(parm.seen) == len(TILLS), "a letter for each")
        await until_seen(lambda: stage._client.backlog == 0, "everything is acknowledged")
