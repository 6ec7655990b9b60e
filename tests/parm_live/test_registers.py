"""PARM's view of the stores on a real broker: births, wills and silence in; device and status registers out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from fleetwire.events import Heartbeat, TerminalState
from fleetwire.identity import Terminal
from fleetwire.mqtt import Endpoint, SessionOptions, StageClient, Will
from parm_stub.stage import Parm
from tests.broker import Broker
from tests.parm_live.running import ROOT, TOPICS, UTC_TIME, Wire, running, stage_settings, until, wire

FIRST = Terminal("taco", "west", "s0001", "r01")
SECOND = Terminal("taco", "west", "s0001", "r02")
STATUS = TOPICS.status("taco", "west", "s0001")


def state(*, online: bool, boot: int, bd_seq: int, reason: str = "") -> bytes:
    """A birth or an end as a terminal says it."""
    said: Any = reason or ("birth" if online else "lost")
    return msgspec.json.encode(TerminalState(online=online, reason=said, boot=boot, bd_seq=bd_seq))


async def say(client: Wire, terminal: Terminal, **values: Any) -> None:
    """Publish a terminal's retained register."""
    await client.publish(TOPICS.terminal("state", terminal), state(**values), retain=True)


async def beat(client: Wire, terminal: Terminal) -> None:
    """Publish a terminal's heartbeat, of boot 1 and connection 1."""
    heartbeat = Heartbeat(
        boot=1,
        bd_seq=1,
        time=UTC_TIME,
        uptime_s=1,
        status_category="AVAILABLE",
        network_type="ETHERNET",
        network_signal_percent=100,
        battery_percent=100,
        external_power=True,
        printer="OK",
        cash_drawer="CLOSED",
        card_reader="READY",
        offline_queue_depth=0,
        offline_queue_oldest_age_s=0,
        clock_offset_ms=0,
        last_sequence=0,
        cpu_percent=1,
        memory_percent=1,
    )
    await client.publish(TOPICS.terminal("heartbeat", terminal), msgspec.json.encode(heartbeat))


def status_is(observer: Wire, status: str, online: int, total: int) -> bool:
    """Whether the store's register says this now."""
    register = observer.retained(STATUS)
    found = register and (register["status"], register["terminals_online"], register["terminals_total"])
    return bool(found == (status, online, total))


def statuses(observer: Wire) -> list[tuple[str, int, int]]:
    """What the store's register has said so far, one after the other."""
    said = [message.json for message in observer.seen if message.topic == STATUS]
    return [(one["status"], one["terminals_online"], one["terminals_total"]) for one in said]


async def test_births_and_a_will_make_a_status(broker: Broker, tmp_path: Path) -> None:
    """Two births make a store OPEN, a connection that breaks makes it DEGRADED by its will, two goodbyes close it."""
    topic = TOPICS.terminal("state", SECOND)
    will = Will(topic=topic, payload=state(online=False, boot=1, bd_seq=1), retain=True)
    lost = StageClient(Endpoint.parse(broker.url), SessionOptions(client_id=SECOND.id), will=lambda: will)
    async with wire(broker, "canonical/#") as observer, running(Parm(stage_settings("parm", broker, tmp_path))) as parm:
        await say(observer, FIRST, online=True, boot=1, bd_seq=1)
        async with lost:
            await lost.publish(topic, state(online=True, boot=1, bd_seq=1), retain=True)
            await until(lambda: status_is(observer, "OPEN", 2, 2), "OPEN")
            parm.measure()
            assert parm.witness.counters["stores_open"] == 1
            lost.session.abort()
        await until(lambda: status_is(observer, "DEGRADED", 1, 2), "DEGRADED")
        device = TOPICS.canonical("device", SECOND)
        await until(lambda: (observer.retained(device) or {}).get("reason") == "lost", "the device register")
        await say(observer, FIRST, online=False, boot=1, bd_seq=1, reason="planned_close")
        await say(observer, SECOND, online=False, boot=1, bd_seq=2, reason="planned_close")
        await until(lambda: status_is(observer, "PLANNED_CLOSED", 0, 2), "PLANNED_CLOSED")
    revisions = [message.json["revision"] for message in observer.seen if message.topic == STATUS]
    assert revisions == sorted(set(revisions))


async def test_a_ghost_changes_nothing(broker: Broker, tmp_path: Path) -> None:
    """The will of a connection that was replaced long ago reaches neither the status nor the device register."""
    async with wire(broker, "canonical/#") as observer, running(Parm(stage_settings("parm", broker, tmp_path))) as parm:
        await say(observer, FIRST, online=True, boot=2, bd_seq=0)
        await until(lambda: status_is(observer, "OPEN", 1, 1), "OPEN")
        await say(observer, FIRST, online=False, boot=1, bd_seq=9)
        await say(observer, SECOND, online=True, boot=1, bd_seq=0)
        await until(lambda: status_is(observer, "OPEN", 2, 2), "the next register")
        parm.measure()
    device = TOPICS.canonical("device", FIRST)
    assert [message.json["boot"] for message in observer.seen if message.topic == device] == [2]
    assert parm.witness.counters["ghosts_total"] == 1


async def test_silence_makes_a_terminal_offline_and_a_heartbeat_brings_it_back(broker: Broker, tmp_path: Path) -> None:
    """Without any sign of life for the limit a terminal counts as lost, though its will never came."""
    settings = stage_settings("parm", broker, tmp_path, options='{"heartbeat_timeout_s": 0.4}', time_scale=60.0)
    async with wire(broker, "canonical/status/#") as observer, running(Parm(settings)):
        await say(observer, FIRST, online=True, boot=1, bd_seq=1)
        turns = [("OPEN", 1, 1), ("OFFLINE", 0, 1), ("OPEN", 1, 1)]
        await until(lambda: statuses(observer)[:2] == turns[:2], "OPEN, then OFFLINE by silence")
        await beat(observer, FIRST)
        await until(lambda: statuses(observer)[:3] == turns, "OPEN by a heartbeat")


async def test_revisions_go_on_growing_over_a_restart(broker: Broker, tmp_path: Path) -> None:
    """A new process reads back what the old one published, for more stores than the broker keeps in flight."""
    settings = stage_settings("parm", broker, tmp_path)
    stores = [Terminal("taco", "west", f"s{number:04d}", "r01") for number in range(1, 61)]

    def revisions(observer: Wire) -> list[int]:
        topics = [TOPICS.status(*store[:3]) for store in stores]
        return [(observer.retained(topic) or {"revision": 0})["revision"] for topic in topics]

    async with wire(broker, "canonical/status/#") as observer:
        async with running(Parm(settings)):
            for number in (1, 2):
                await asyncio.gather(*(say(observer, one, online=number == 1, boot=1, bd_seq=1) for one in stores))
                await until(lambda number=number: min(revisions(observer)) >= number, f"revision {number}")
        before = revisions(observer)
        async with running(Parm(settings)):
            await until(
                lambda: all(new > old for new, old in zip(revisions(observer), before, strict=True)), "greater ones"
            )


async def test_each_store_is_looked_after_by_one_instance(broker: Broker, tmp_path: Path) -> None:
    """Two instances publish the status of every store once between them."""
    pair = [
        Parm(stage_settings("parm", broker, tmp_path / str(number), instance=number, instances=2)) for number in (1, 2)
    ]
    stores = [Terminal("taco", "west", f"s{number:04d}", "r01") for number in range(1, 21)]
    async with wire(broker, "canonical/status/#") as observer, running(pair[0]), running(pair[1]):
        await asyncio.gather(*(say(observer, one, online=True, boot=1, bd_seq=0) for one in stores))
        await until(lambda: len(observer.seen) == len(stores), "a status of each store")
        for parm in pair:
            parm.measure()
    assert len({message.topic for message in observer.seen}) == len(stores)
    counts = [parm.witness.counters["stores_open"] for parm in pair]
    assert sum(counts) == len(stores)
    assert min(counts) >= 1


async def test_bad_state_becomes_a_dead_letter(broker: Broker, tmp_path: Path) -> None:
    """State that cannot be read is a dead letter, a cleared register is nothing, and the next state counts."""
    topic = TOPICS.terminal("state", FIRST)
    async with (
        wire(broker, "canonical/status/#", "dead-letter/#") as observer,
        running(Parm(stage_settings("parm", broker, tmp_path))),
    ):
        await observer.publish(topic, b"", retain=True)
        await observer.publish(topic, b"\xff", retain=True)
        await observer.publish(topic, b'{"online": 1}', retain=True)
        await observer.publish(topic.replace("s0001/", "s0002/"), state(online=True, boot=1, bd_seq=1))
        await say(observer, FIRST, online=True, boot=1, bd_seq=1)
        await until(lambda: status_is(observer, "OPEN", 1, 1), "OPEN")
        await until(lambda: len(observer.on("dead-letter")) == 3, "three letters")
    reasons = [message.topic.removeprefix(f"{ROOT}/dead-letter/parm/") for message in observer.on("dead-letter")]
    assert reasons == [f"{reason}/{FIRST.id}" for reason in ("malformed_json", "schema", "topic_mismatch")]


async def test_bad_registers_and_asks_do_not_stop_reading(broker: Broker, tmp_path: Path) -> None:
    """More of them in one read than may be held: each is a letter, though the same session reads the PUBACKs."""
    parm = Parm(stage_settings("parm", broker, tmp_path, outcomes=True))
    tills = [Terminal("taco", "west", "s0001", f"r{number:02d}") for number in range(1, 41)]
    async with wire(broker, "dead-letter/#", "canonical/status/#") as observer, running(parm):
        parm._sessions.outbound._backlog_limit = 4
        for kind in ("state", "ask"):
            await asyncio.gather(*(observer.publish(TOPICS.terminal(kind, till), b"[") for till in tills))
        await until(lambda: len(observer.on("dead-letter")) == 2 * len(tills), "a letter for each")
        await say(observer, FIRST, online=True, boot=1, bd_seq=1)
        await until(lambda: status_is(observer, "OPEN", 1, 1), "the good register")
        await until(lambda: parm._sessions.outbound.backlog == 0, "everything is acknowledged")
